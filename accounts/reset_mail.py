"""The mail with the link to a new password."""

from typing import Any

from django.conf import settings
from django.contrib.auth.forms import PasswordResetForm
from django.contrib.auth.tokens import default_token_generator
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from notifications.mails import request_mail

# Of one address: more accounts than this share none.
_MOST_ACCOUNTS = 10


def request_reset(email: str) -> None:
    """Whether anybody has this address is found out by a worker: the request does the same for every one."""
    request_mail("password_reset", {"email": email})


def compose_reset(about: dict[str, Any]) -> list[EmailMessage]:
    """One to each account with this address, at the address that the account itself holds."""
    users = list(PasswordResetForm().get_users(about["email"]))[:_MOST_ACCOUNTS]
    subject = " ".join(render_to_string("account/password_reset_subject.txt").split())
    return [EmailMessage(subject, _body(user), to=[user.email]) for user in users]


def _body(user: Any) -> str:
    context = {
        "user": user,
        "uid": urlsafe_base64_encode(force_bytes(user.pk)),
        "token": default_token_generator.make_token(user),
        "public_url": settings.PUBLIC_URL,
    }
    return render_to_string("account/password_reset_mail.txt", context)
