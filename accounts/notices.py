"""Mails to the owner of an account about what protects it: somebody else may have changed that."""

from enum import Enum
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import EmailMessage
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from accounts.second_factor.state import has_second_factor
from notifications.mails import request_mail
from organizations.audit import agent_of
from rest.doors.client_address import client_address


class Change(Enum):
    """What was done, in the words of the mail's subject and first line."""

    APP_ADDED = "an authenticator app was added"
    APP_REMOVED = "the authenticator app was removed"
    PASSKEY_ADDED = "a passkey was added"
    PASSKEY_REMOVED = "a passkey was removed"
    CODES_RENEWED = "new recovery codes were generated"
    FACTORS_REMOVED = "the second factor was removed by an administrator"
    PASSWORD_CHANGED = "the password was changed"  # noqa: S105 - words of a mail
    PASSWORD_RESET = "the password was reset with a link from a mail"  # noqa: S105 - words of a mail
    PASSWORD_SET = "the password was set by an administrator"  # noqa: S105 - words of a mail


_BY_OTHERS = {Change.FACTORS_REMOVED, Change.PASSWORD_SET}
_TURNED_OFF = {Change.APP_REMOVED, Change.PASSKEY_REMOVED, Change.FACTORS_REMOVED}


def tell_owner(user: User, change: Change, request: HttpRequest | None = None) -> None:
    """Have it mailed after the commit, if the account has an address.

    `request` is what did it; its address and browser are told, but not those of an administrator.
    """
    if not user.email:
        return
    about = {
        "user_id": user.pk,
        "change": change.name,
        "is_off": change in _TURNED_OFF and not has_second_factor(user),
        "at": timezone.now().isoformat(),
        "address": client_address(request) if request else None,
        "agent": agent_of(request) if request else "",
    }
    request_mail("account_notice", about)


def compose_notice(about: dict[str, Any]) -> list[EmailMessage]:
    """None to an account that is gone, or has no address any more."""
    user = User.objects.filter(pk=about["user_id"]).exclude(email="").first()
    if user is None:
        return []
    change = Change[about["change"]]
    context = {
        **about,
        "user": user,
        "what": change.value,
        "is_by_others": change in _BY_OTHERS,
        "now": parse_datetime(about["at"]),
        "public_url": settings.PUBLIC_URL,
    }
    body = render_to_string("account/notice.txt", context)
    return [EmailMessage(f"Your account {user.get_username()}: {change.value}", body, to=[user.email])]
