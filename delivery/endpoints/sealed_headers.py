"""The headers that subscriptions add, as rows hold them: names in clear, values encrypted, for they may be tokens.

A value that was stored before values were encrypted is read as it is.
"""

from collections.abc import Mapping

from core.secrets import UnreadableSecretError, decrypt_secret, encrypt_secret
from delivery.endpoints.masking import mask

# No clear value has it: delivery.endpoints.header_rules allows nothing but ASCII.
SEAL = "§"


def seal_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """For the row. Two calls never give the same."""
    return {name: SEAL + encrypt_secret(value) for name, value in headers.items()}


def open_headers(stored: Mapping[str, str]) -> dict[str, str]:
    """What was sealed; UnreadableSecretError when no key fits."""
    return {name: open_value(value) for name, value in stored.items()}


def open_readable(stored: Mapping[str, str]) -> dict[str, str]:
    """What was sealed; as it is stored when no key fits any more, so that it can still be replaced."""
    try:
        return open_headers(stored)
    except UnreadableSecretError:
        return dict(stored)


def open_value(stored: str) -> str:
    """One value; UnreadableSecretError when no key fits."""
    return decrypt_secret(stored.removeprefix(SEAL)) if stored.startswith(SEAL) else stored


def show_headers(stored: Mapping[str, str]) -> dict[str, str]:
    """For people and clients: masked, also where no key fits any more, so that the page still opens."""
    return {name: _shown(value) for name, value in stored.items()}


def _shown(stored: str) -> str:
    try:
        return mask(open_value(stored))
    except UnreadableSecretError:
        return mask("")
