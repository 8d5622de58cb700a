"""People with accounts, and how they sign in."""

import time
from typing import Any

from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.contrib.auth.models import User
from django.test import Client, TestCase

PASSWORD = "correct horse battery staple"
AGENT = "Mozilla/5.0 (test)"


def make_user(username: str = "casey", **values: Any) -> User:
    return User.objects.create_user(username, f"{username}@example.com", PASSWORD, **values)


def sign_in(user: User, password: str = PASSWORD, path: str = "/console/sign-in/", **extra: Any) -> tuple[Client, Any]:
    client = Client(headers={"User-Agent": AGENT})
    return client, client.post(path, {"username": user.username, "password": password}, **extra)


def code_of(secret: str, steps: int = 0) -> str:
    code: str = format_hotp_value(hotp_value(secret, int(time.time()) // 30 + steps))
    return code


def set_up(client: Client) -> str:
    """Turn the app on; returns its secret."""
    secret: str = client.get("/account/second-factor/app/").context["form"].secret
    with TestCase.captureOnCommitCallbacks(execute=True):
        answer = client.post("/account/second-factor/app/", {"code": code_of(secret)})
    assert answer.status_code == 302, answer.content
    return secret
