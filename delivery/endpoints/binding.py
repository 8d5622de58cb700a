"""What is bound to an endpoint: stored header values go to the scheme, host and port that they were given for. Pure."""

from collections.abc import Mapping

from yarl import URL

from core.field_errors import FieldError, pointer_to
from delivery.endpoints.masking import is_mask

_DETAIL = "This would go to another endpoint: give the value itself again, or leave it out altogether."


def given_anew(*path: str) -> FieldError:
    """What is said of a secret that would go to another endpoint than it was given for."""
    return FieldError(pointer=pointer_to(*(step[:64] for step in path)), code="headers_required", detail=_DETAIL)


def values_to_give(
    given: Mapping[str, str] | None, *, stored: Mapping[str, str], before: str, after: str
) -> list[FieldError]:
    """The headers whose values are to go to another endpoint without being given anew.

    They may be tokens that nobody is shown: whoever changes the URL could else have them sent to a host of their own.
    `given` are the headers as they came with the change, masks and all; None when there were none with it.
    """
    if endpoint_of(before) == endpoint_of(after):
        return []
    names = sorted(stored if given is None else (name for name, value in given.items() if is_mask(value)))
    return [given_anew("headers", name) for name in names]


def endpoint_of(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port, whatever the case and whether or not the scheme's own port is named.

    By the parser that requests are sent with: where two of them disagree, this one decides where a header goes.
    """
    try:
        parts = URL(url)
    except ValueError:
        return url, "", None
    return parts.scheme, parts.raw_host or "", parts.port
