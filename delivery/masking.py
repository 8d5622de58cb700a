"""Values of headers as they are shown: they may be tokens. Pure."""

from collections.abc import Mapping

_MASK = "****"
# Of a shorter value, its end would give away too much.
_MIN_LENGTH = 12


def mask(value: str) -> str:
    """`Bearer s3cr3t-t0ken` → `****0ken`."""
    return _MASK + (value[-4:] if len(value) >= _MIN_LENGTH else "")


def restore_masked(headers: Mapping[str, str], stored: Mapping[str, str]) -> dict[str, str]:
    """The headers; a value that is the stored one's mask stands for it, so that clients may send back what they got."""
    return {
        name: stored[name] if name in stored and value == mask(stored[name]) else value
        for name, value in headers.items()
    }
