"""The form of an API key: `evp_<env>_<id><secret><checksum>`, all base62.

`id` (12 characters) finds the row, `secret` (33 characters, 196 random bits) proves it, `checksum` (6 characters,
CRC32 of all before it) refuses a mistyped key without a query.
"""

import hashlib
import re
import secrets
import string
import zlib

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH, SECRET_LENGTH, CHECKSUM_LENGTH = 12, 33, 6
_FORM = re.compile(rf"evp_[a-z]{{2,10}}_[0-9A-Za-z]{{{ID_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH}}}")


def generate_key(environment: str) -> str:
    """A new plaintext key; `environment` is two to ten letters a-z."""
    random = "".join(secrets.choice(ALPHABET) for _ in range(ID_LENGTH + SECRET_LENGTH))
    body = f"evp_{environment}_{random}"
    return body + _checksum(body)


def public_id(plaintext: str) -> str | None:
    """The id part of a well-formed key with a right checksum, otherwise None."""
    if not _FORM.fullmatch(plaintext):
        return None
    body, checksum = plaintext[:-CHECKSUM_LENGTH], plaintext[-CHECKSUM_LENGTH:]
    if _checksum(body) != checksum:
        return None
    return body.rpartition("_")[2][:ID_LENGTH]


def hash_key(plaintext: str) -> bytes:
    """SHA-256 is enough: with 196 random bits there is nothing to guess."""
    return hashlib.sha256(plaintext.encode()).digest()


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
