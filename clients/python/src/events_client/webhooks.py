"""Webhooks by the Standard Webhooks specification 1.0: telling genuine ones from others, and signing.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from events_client.errors import ConfigurationError, WebhookVerificationError

PREFIX = "whsec_"
TOLERANCE_SECONDS = 300


def verify_webhook(
    body: bytes | str,
    headers: Mapping[str, str],
    secret: str | Iterable[str],
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> dict[str, Any]:
    """The event of a webhook: a dict with `id`, `type`, `timestamp` and `data`.

    `body` is the request's, untouched: one that was parsed and written anew has other bytes. `headers` may have names
    in any case. `secret` is the `whsec_…` of the subscription, or several of them while they are changed. Raises
    WebhookVerificationError when none of them signed it, or not within `tolerance_seconds` of now.
    """
    raw = body.encode() if isinstance(body, str) else bytes(body)
    keys = [secret_key(one) for one in ([secret] if isinstance(secret, str) else secret)]
    found = {name.lower(): value for name, value in headers.items()}
    try:
        identifier, stamp, given = (found[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as error:
        raise WebhookVerificationError(f"the header {error.args[0]} is missing: this is no webhook") from None
    _require_recent(stamp, tolerance_seconds)
    expected = [signature(key, identifier, stamp, raw).encode() for key in keys]
    signatures = [one.encode(errors="replace") for one in given.split()]
    # All are compared, so that the time it takes says nothing.
    if not any([hmac.compare_digest(one, each) for one in signatures for each in expected]):  # noqa: C419
        raise WebhookVerificationError(
            "no signature is of this secret and body. Is it this subscription's secret, and the body as it came?"
        )
    try:
        event = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WebhookVerificationError(f"the signature is right, but the body is no event: {error}") from error
    return event


def secret_key(secret: str) -> bytes:
    """The key within `whsec_…`; raises ConfigurationError when it is none."""
    try:
        key = base64.b64decode(secret.strip().removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.strip().startswith(PREFIX) or not key:
        raise ConfigurationError(f"a webhook secret is {PREFIX} with base64 after it, as the subscription shows it")
    return key


def generate_secret() -> str:
    """A new `whsec_…` secret of 32 random bytes."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signature(key: bytes, identifier: str, timestamp: str, body: bytes) -> str:
    """One value of `webhook-signature`; `timestamp` is in seconds of Unix time."""
    signed = f"{identifier}.{timestamp}.".encode(errors="replace") + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def signed_headers(secret: str, identifier: str, body: bytes) -> dict[str, str]:
    """The headers of a webhook that is sent now."""
    timestamp = str(int(time.time()))
    return {
        "content-type": "application/json",
        "webhook-id": identifier,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature(secret_key(secret), identifier, timestamp, body),
    }


def _require_recent(stamp: str, tolerance_seconds: float) -> None:
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) < 20):
        raise WebhookVerificationError("webhook-timestamp is no number of seconds")
    age = time.time() - int(stamp)
    if abs(age) > tolerance_seconds:
        past = "old" if age > 0 else "ahead of this clock"
        raise WebhookVerificationError(
            f"the webhook is {abs(age):.0f} s {past}: it was recorded and sent again, or this clock is wrong"
        )
