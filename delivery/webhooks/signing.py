"""Signatures of webhooks by the Standard Webhooks specification 1.0: symmetric `v1`, asymmetric `v1a` (Ed25519). Pure.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SYMMETRIC, ASYMMETRIC = "v1", "v1a"
PREFIX, PRIVATE_PREFIX, PUBLIC_PREFIX = "whsec_", "whsk_", "whpk_"
# The specification asks for 24 to 64 bytes; 32 are what SHA-256 can use.
SECRET_BYTES = 32
_LENGTHS = range(24, 65)
# A private key goes with its public one behind it, as the specification's own tools write it.
_SEED_BYTES, _KEY_PAIR_BYTES = 32, 64

SigningKey = bytes | Ed25519PrivateKey


def generate_secret(signature: str | None = SYMMETRIC) -> str:
    """A new secret for signatures of this version; None is that of `v1`.

    For `v1` it is `whsec_` and the base64 of SECRET_BYTES random bytes, as its owner sees it; for `v1a` it is `whsk_`
    and the base64 of a key pair, which nobody is shown.
    """
    if signature != ASYMMETRIC:
        return PREFIX + _encoded(secrets.token_bytes(SECRET_BYTES))
    key = Ed25519PrivateKey.generate()
    pair = key.private_bytes_raw() + key.public_key().public_bytes_raw()
    return PRIVATE_PREFIX + _encoded(pair)


def secret_key(text: str) -> SigningKey:
    """The key within a `whsec_…` or `whsk_…` secret; ValueError when it is none."""
    if text.startswith(PRIVATE_PREFIX):
        pair = _decoded(text.removeprefix(PRIVATE_PREFIX))
        if len(pair) != _KEY_PAIR_BYTES:
            raise ValueError(f"a private key of webhooks holds {_KEY_PAIR_BYTES} bytes")
        return Ed25519PrivateKey.from_private_bytes(pair[:_SEED_BYTES])
    if not text.startswith(PREFIX):
        raise ValueError(f"a webhook secret begins with {PREFIX} or {PRIVATE_PREFIX}")
    key = _decoded(text.removeprefix(PREFIX))
    if len(key) not in _LENGTHS:
        raise ValueError("a webhook secret holds 24 to 64 bytes")
    return key


def public_key(secret: str) -> str:
    """The `whpk_…` with which receivers verify what this `whsk_…` signs; empty for a `whsec_…`, which has none."""
    key = secret_key(secret)
    return "" if isinstance(key, bytes) else PUBLIC_PREFIX + _encoded(key.public_key().public_bytes_raw())


def sign(keys: Sequence[SigningKey], message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: one `v1,<base64>` or `v1a,<base64>` for each key, separated by spaces.

    `timestamp` is in seconds of Unix time, as sent in `webhook-timestamp`; `message_id` has no full stop, for it
    separates the parts of what is signed. Several keys are for the time after a rotation.
    """
    content = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    return " ".join(_signature(key, content) for key in keys)


def _signature(key: SigningKey, content: bytes) -> str:
    if isinstance(key, bytes):
        return f"{SYMMETRIC},{_encoded(hmac.digest(key, content, 'sha256'))}"
    return f"{ASYMMETRIC},{_encoded(key.sign(content))}"


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a webhook secret is base64 after its prefix") from None
