"""Secrets that are shown once, on the page that a form leads to.

A form that makes a key answers with a redirect, so that loading the page again makes no second key. The secret waits
for that page in the session, encrypted as secrets are at rest, and is gone when it was shown or is five minutes old.
"""

import time

from django.http import HttpRequest

from core.secrets import UnreadableSecretError, decrypt_secret, encrypt_secret

_NAME = "console_shown_once"
_SECONDS = 300


def keep_secret(request: HttpRequest, *, about: str, secret: str) -> None:
    """`about` names the page's object: only that page takes it."""
    request.session[_NAME] = {"about": about, "token": encrypt_secret(secret), "until": int(time.time()) + _SECONDS}


def take_secret(request: HttpRequest, *, about: str) -> str | None:
    """The secret, for this one time."""
    kept = request.session.get(_NAME)
    if kept is None or kept["about"] != about:
        return None
    del request.session[_NAME]
    if kept["until"] < time.time():
        return None
    try:
        return decrypt_secret(kept["token"])
    except UnreadableSecretError:
        return None
