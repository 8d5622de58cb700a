"""An organization is resumed: the mails that its suspension held go out."""

from datetime import timedelta

from notifications.invitations import request_invitation_mail
from notifications.notices import mail_held
from organizations.models import Organization
from organizations.operations import open_invitations

# For how long an invitation's mail is tried (notifications.mails): older ones were mailed, or given up.
_TRIED_FOR = timedelta(minutes=75)


def release_held(organization: Organization) -> None:
    """Mail what there is to tell, and the invitations that were on their way. Call it in the transaction that resumes.

    An invitation may arrive twice; none is lost.
    """
    mail_held(organization)
    assert organization.suspended_at is not None  # noqa: S101 - as it was
    held = open_invitations(organization).filter(created_at__gt=organization.suspended_at - _TRIED_FOR)
    for invitation in held.order_by("pk"):
        request_invitation_mail(invitation)
