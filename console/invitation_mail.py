"""The mail that invites somebody, and the link in it."""

import logging
from uuid import UUID

from celery import current_app
from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from ingestion.wakeup import BROKER_ERRORS
from organizations.models import Invitation
from organizations.operations import invitation_token

logger = logging.getLogger(__name__)


def invitation_link(invitation: Invitation) -> str:
    """Whoever has it may accept."""
    return f"{settings.PUBLIC_URL}{reverse('console:invitation', args=[invitation_token(invitation)])}"


def request_invitation_mail(invitation: Invitation) -> bool:
    """Leave it to a worker; False when the broker is away: then the link has to be sent by hand."""
    try:
        current_app.send_task("console.mail_invitation", kwargs={"invitation_id": str(invitation.pk)})
    except BROKER_ERRORS as error:
        logger.warning("an invitation will not be mailed, as the broker is away: %s", type(error).__name__)
        return False
    return True


def mail_invitation(*, invitation_id: UUID) -> bool:
    """Whether it was open and its mail was sent. Raises OSError when the mail server does not take it.

    A suspended organization's waits: see console.resuming.
    """
    rows = Invitation.objects.select_related("organization", "invited_by").filter(organization__suspended_at=None)
    open_ones = rows.filter(accepted_at=None, withdrawn_at=None, expires_at__gt=timezone.now())
    invitation = open_ones.filter(pk=invitation_id).first()
    if invitation is None:
        return False
    # A name may hold line breaks, a header must not.
    name = " ".join(invitation.organization.name.split())
    context = {"name": name, "invitation": invitation, "link": invitation_link(invitation)}
    body = render_to_string("console/members/invitation.txt", context)
    EmailMessage(f"Join {name} on Events Platform", body, to=[invitation.email]).send()
    return True
