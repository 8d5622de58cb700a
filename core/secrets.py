"""Secrets at rest: encrypted with Fernet (AES-128-CBC and HMAC-SHA256), readable with any of several keys."""

import base64
import functools
import hashlib

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

# Separates this use of SECRET_KEY from every other; changing it loses what was encrypted.
_PURPOSE = b"events-platform field encryption"
# Likewise for a key's fingerprint, which may be written down anywhere.
_FINGERPRINT = b"events-platform key fingerprint\0"


class UnreadableSecretError(Exception):
    """No key that is set decrypts the token: a key was dropped too early, or the token was altered."""


def encrypt_secret(text: str) -> str:
    """A token for the database, made with the first key. Two calls never give the same token."""
    return _ciphers().encrypt(text.encode()).decode()


def decrypt_secret(token: str) -> str:
    """What was encrypted; UnreadableSecretError when no key fits."""
    try:
        return _ciphers().decrypt(token.encode()).decode()
    except InvalidToken as error:
        raise UnreadableSecretError("no key of FIELD_ENCRYPTION_KEYS decrypts a stored secret") from error


def re_encrypt(token: str) -> str:
    """The same secret under the first key, for use after a new key was put in front; UnreadableSecretError."""
    try:
        return _ciphers().rotate(token.encode()).decode()
    except InvalidToken as error:
        raise UnreadableSecretError("no key of FIELD_ENCRYPTION_KEYS decrypts a stored secret") from error


def is_current(token: str) -> bool:
    """Whether the first key made it, so that all others could be dropped."""
    keys = settings.FIELD_ENCRYPTION_KEYS
    first: str | bytes = keys[0] if keys else _derived_key(settings.SECRET_KEY)
    try:
        Fernet(first).decrypt(token.encode())
    except InvalidToken:
        return False
    return True


def key_fingerprints() -> dict[str, str]:
    """The fingerprint of each key that decrypts, and the setting it comes from. It does not give the key away."""
    keys = [(key, "FIELD_ENCRYPTION_KEYS") for key in settings.FIELD_ENCRYPTION_KEYS]
    keys.append((_derived_key(settings.SECRET_KEY).decode(), "SECRET_KEY"))
    digests = [(hashlib.sha256(_FINGERPRINT + base64.urlsafe_b64decode(key)), setting) for key, setting in keys]
    return {digest.hexdigest()[:16]: setting for digest, setting in digests}


def _ciphers() -> MultiFernet:
    secret_keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return _ciphers_of(tuple(settings.FIELD_ENCRYPTION_KEYS), secret_keys)


@functools.lru_cache(maxsize=4)
def _ciphers_of(keys: tuple[str, ...], secret_keys: tuple[str, ...]) -> MultiFernet:
    """Keys derived from secret keys stay last, so that what they encrypted is readable once others are set."""
    return MultiFernet([*map(Fernet, keys), *(Fernet(_derived_key(key)) for key in secret_keys)])


def _derived_key(secret_key: str) -> bytes:
    # HKDF (RFC 5869) suits a SECRET_KEY that is long and random, which the settings demand; it is not for passwords.
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret_key.encode())
    return base64.urlsafe_b64encode(key)
