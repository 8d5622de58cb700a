"""Invite people by mail, and let them in."""

from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.core import signing
from django.db import IntegrityError, transaction

from core.problems import Problem, invalid
from organizations.audit import Actor, record
from organizations.limits import hold_limits, refuse_over
from organizations.models import Invitation, Membership, Organization, TenantQuerySet

LIFETIME = timedelta(days=7)
_SALT = "organizations.invitation"


@transaction.atomic
def invite_member(
    *, organization: Organization, email: str, role: str, invited_by: User, actor: Actor, now: datetime
) -> Invitation:
    """A new invitation; an open one to the same address is withdrawn. Raises Problem 409 or 422."""
    email = email.strip().lower()
    limits = hold_limits(organization.pk)  # which also sees to one invitation for each address
    refuse_over(limits.members, used=_members(organization), what="members", way_out="Remove one first.")
    if Membership.objects.for_organization(organization.pk).filter(user__email__iexact=email).exists():
        raise invalid("/email", "is_member", f"{email} is a member already.")
    invitations = Invitation.objects.for_organization(organization.pk)
    today = invitations.filter(created_at__gt=now - timedelta(days=1)).count()
    refuse_over(limits.invitations_per_day, used=today, what="invitations a day", way_out="Try again tomorrow.")
    invitations.filter(email=email, accepted_at=None, withdrawn_at=None).update(withdrawn_at=now)
    invitation = Invitation.objects.create(
        organization=organization,
        email=email,
        role=role,
        invited_by=invited_by,
        created_at=now,
        expires_at=now + LIFETIME,
    )
    record(
        actor=actor,
        action="invitation.created",
        target=invitation,
        organization=organization,
        changes={"email": email, "role": role},
    )
    return invitation


@transaction.atomic
def withdraw_invitation(*, invitation: Invitation, actor: Actor, now: datetime) -> bool:
    """Its link works no longer; False when it was accepted or withdrawn already."""
    moved = _open(invitation).update(withdrawn_at=now)
    if moved:
        record(actor=actor, action="invitation.withdrawn", target=invitation, organization=invitation.organization)
    return bool(moved)


@transaction.atomic
def accept_invitation(*, invitation: Invitation, user: User, actor: Actor, now: datetime) -> Membership:
    """Make `user` a member; an unsaved user is an account to be made, with the invitation's address.

    Raises Problem 409 when the invitation is not open any more, or the user is a member already; then nothing changes,
    and no account is made. Raises IntegrityError when the name of a new account was taken at this very moment.
    """
    if user.pk is None:
        user.email = invitation.email
        user.save()
    most = hold_limits(invitation.organization_id).members
    refuse_over(most, used=_members(invitation.organization), what="members", way_out="Ask it to remove one.")
    if not _open(invitation).filter(expires_at__gt=now).update(accepted_at=now, accepted_by=user):
        raise Problem("wrong_state", "The invitation was accepted or withdrawn, or it has expired. Ask for another.")
    try:
        with transaction.atomic():
            membership = Membership.objects.create(
                organization=invitation.organization, user=user, role=invitation.role
            )
    except IntegrityError as error:
        raise Problem("wrong_state", "You are a member already.") from error
    record(
        actor=actor,
        action="invitation.accepted",
        target=invitation,
        organization=invitation.organization,
        changes={"user": user.get_username(), "role": invitation.role},
    )
    return membership


def open_invitations(organization: Organization) -> TenantQuerySet[Invitation]:
    """Those that were neither accepted nor withdrawn; expired ones too, as they can be sent again."""
    return Invitation.objects.for_organization(organization.pk).filter(accepted_at=None, withdrawn_at=None)


def invitation_token(invitation: Invitation) -> str:
    """For the link: whoever has it may accept. Signed, and good for as long as the invitation."""
    return signing.dumps(str(invitation.pk), salt=_SALT)


def find_invitation(token: str, *, now: datetime) -> Invitation | None:
    """The open invitation that a link names; None for every link that does not work."""
    try:
        invitation_id = signing.loads(token, salt=_SALT, max_age=LIFETIME)
    except signing.BadSignature:
        return None
    rows = Invitation.objects.select_related("organization", "invited_by")
    return rows.filter(pk=invitation_id, accepted_at=None, withdrawn_at=None, expires_at__gt=now).first()


def _members(organization: Organization) -> int:
    return Membership.objects.for_organization(organization.pk).count()


def _open(invitation: Invitation) -> TenantQuerySet[Invitation]:
    return open_invitations(invitation.organization).filter(pk=invitation.pk)
