"""The mail that invites somebody, and the link in it."""

from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from notifications.mails import request_mail
from organizations.models import Invitation
from organizations.operations import invitation_token


def invitation_link(invitation: Invitation) -> str:
    """Whoever has it may accept."""
    return f"{settings.PUBLIC_URL}{reverse('console:invitation', args=[invitation_token(invitation)])}"


def request_invitation_mail(invitation: Invitation) -> None:
    """A worker mails the link, once the caller's transaction is committed."""
    request_mail("invitation", {"invitation_id": str(invitation.pk)})


def compose_invitation(about: dict[str, Any]) -> list[EmailMessage]:
    """None when it was accepted, withdrawn or replaced meanwhile, or is too old.

    A suspended organization's waits: see notifications.resuming.
    """
    rows = Invitation.objects.select_related("organization", "invited_by").filter(organization__suspended_at=None)
    open_ones = rows.filter(accepted_at=None, withdrawn_at=None, expires_at__gt=timezone.now())
    invitation = open_ones.filter(pk=about["invitation_id"]).first()
    if invitation is None:
        return []
    # A name may hold line breaks, a header must not.
    name = " ".join(invitation.organization.name.split())
    context = {"name": name, "invitation": invitation, "link": invitation_link(invitation)}
    body = render_to_string("console/members/invitation.txt", context)
    return [EmailMessage(f"Join {name} on Events Platform", body, to=[invitation.email])]
