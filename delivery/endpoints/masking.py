"""Values of headers as they are shown: they may be tokens. Pure."""

from collections.abc import Mapping
from typing import Any

from core.field_errors import FieldError, pointer_to
from core.problems import Problem

_MASK = "****"
# Of a shorter value, its end would give away too much.
_MIN_LENGTH = 12
_SHOWN = 4


def mask(value: str) -> str:
    """`Bearer s3cr3t-t0ken` → `****0ken`."""
    return _MASK + (value[-_SHOWN:] if len(value) >= _MIN_LENGTH else "")


def is_mask(value: Any) -> bool:
    """Whether it has the form of one, of whatever value."""
    return isinstance(value, str) and value.startswith(_MASK) and len(value) <= len(_MASK) + _SHOWN


def restore_masked(headers: Mapping[str, Any], stored: Mapping[str, str]) -> dict[str, Any]:
    """The headers; a mask stands for the stored value of its name, so that clients may send back what they got.

    Raises Problem 422 for a mask of anything else: it would be stored in place of the value.
    """
    known = {name.lower(): value for name, value in stored.items()}
    found, errors = {}, []
    for name, value in headers.items():
        found[name] = value
        if is_mask(value):
            own = known.get(name.lower())
            if own is None or mask(own) != value:
                errors.append(_not_its_mask(name))
            else:
                found[name] = own
    if errors:
        raise Problem("validation_failed", errors=errors)
    return found


def _not_its_mask(name: str) -> FieldError:
    detail = "This is the mask of a value, and not of the one that this header has. Give the value itself."
    return FieldError(pointer=pointer_of(name), code="masked_value", detail=detail)


def pointer_of(name: str) -> str:
    """To a header of this name, as a JSON pointer (RFC 6901)."""
    return pointer_to("headers", name[:64])
