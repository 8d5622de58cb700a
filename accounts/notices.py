"""Mails to the owner of an account about what protects it: somebody else may have changed that."""

import logging
from enum import Enum
from functools import partial
from smtplib import SMTPException

from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import EmailMessage
from django.db import transaction
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone

from accounts.second_factor import has_second_factor
from organizations.audit import agent_of
from rest.client_address import client_address

logger = logging.getLogger(__name__)


class Change(Enum):
    """What was done, in the words of the mail's subject and first line."""

    APP_ADDED = "an authenticator app was added"
    APP_REMOVED = "the authenticator app was removed"
    PASSKEY_ADDED = "a passkey was added"
    PASSKEY_REMOVED = "a passkey was removed"
    CODES_RENEWED = "new recovery codes were made"
    FACTORS_REMOVED = "the second factor was removed by an administrator"
    PASSWORD_CHANGED = "the password was changed"  # noqa: S105 - words of a mail
    PASSWORD_RESET = "the password was reset by a link from a mail"  # noqa: S105 - words of a mail
    PASSWORD_SET = "the password was set by an administrator"  # noqa: S105 - words of a mail


_BY_OTHERS = {Change.FACTORS_REMOVED, Change.PASSWORD_SET}
_TURNED_OFF = {Change.APP_REMOVED, Change.PASSKEY_REMOVED, Change.FACTORS_REMOVED}


def tell_owner(user: User, change: Change, request: HttpRequest | None = None) -> None:
    """Mail it after the commit, if the account has an address. A mail server that is away undoes no change.

    `request` is what did it; its address and browser are told, but not those of an administrator.
    """
    if not user.email:
        return
    mail = EmailMessage(
        f"Your account {user.get_username()}: {change.value}", _body(user, change, request), to=[user.email]
    )
    transaction.on_commit(partial(_send, mail, change))


def _body(user: User, change: Change, request: HttpRequest | None) -> str:
    context = {
        "user": user,
        "what": change.value,
        "is_off": change in _TURNED_OFF and not has_second_factor(user),
        "is_by_others": change in _BY_OTHERS,
        "now": timezone.now(),
        "address": client_address(request) if request else None,
        "agent": agent_of(request) if request else "",
        "public_url": settings.PUBLIC_URL,
    }
    return render_to_string("account/notice.txt", context)


def _send(mail: EmailMessage, change: Change) -> None:
    try:
        mail.send()
    except (SMTPException, OSError) as error:
        logger.warning("no mail was sent about an account (%s): %s", change.name.lower(), type(error).__name__)
