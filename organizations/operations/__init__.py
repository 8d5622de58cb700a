"""What can be done to organizations, members and API keys. Each leaves an audit entry."""

from organizations.operations.invitations import (
    accept_invitation,
    find_invitation,
    invitation_token,
    invite_member,
    open_invitations,
    withdraw_invitation,
)
from organizations.operations.keys import IssuedKey, issue_key, refuse_if_over, revoke_key, rotate_key
from organizations.operations.leaked_keys import LeakedKey, LeakOutcome, find_leaked_key
from organizations.operations.members import add_member, change_role, remove_member
from organizations.operations.organizations import (
    create_organization,
    resume_organization,
    suspend_organization,
    update_organization,
)

__all__ = [
    "IssuedKey",
    "LeakOutcome",
    "LeakedKey",
    "accept_invitation",
    "add_member",
    "change_role",
    "create_organization",
    "find_invitation",
    "find_leaked_key",
    "invitation_token",
    "invite_member",
    "issue_key",
    "open_invitations",
    "refuse_if_over",
    "remove_member",
    "resume_organization",
    "revoke_key",
    "rotate_key",
    "suspend_organization",
    "update_organization",
    "withdraw_invitation",
]
