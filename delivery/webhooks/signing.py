"""Signatures of webhooks by the Standard Webhooks specification 1.0 (symmetric, `v1`). Pure.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence

PREFIX = "whsec_"
# The specification asks for 24 to 64 bytes; 32 are what SHA-256 can use.
SECRET_BYTES = 32
_LENGTHS = range(24, 65)


def generate_secret() -> str:
    """A new secret as its owner sees it: `whsec_` and the base64 of SECRET_BYTES random bytes."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def secret_key(text: str) -> bytes:
    """The key within a `whsec_…` secret; ValueError when it is none."""
    if not text.startswith(PREFIX):
        raise ValueError(f"a webhook secret begins with {PREFIX}")
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a webhook secret is base64 after its prefix") from None
    if len(key) not in _LENGTHS:
        raise ValueError("a webhook secret holds 24 to 64 bytes")
    return key


def sign(secrets: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: one `v1,<base64>` for each key, separated by spaces.

    `timestamp` is in seconds of Unix time, as sent in `webhook-timestamp`; `message_id` has no full stop, for it
    separates the parts of what is signed. Several keys are for the time after a rotation.
    """
    content = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return " ".join("v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in secrets)
