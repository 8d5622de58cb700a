"""What is bound to an endpoint: stored header values go to the scheme, host and port that they were given for. Pure."""

from collections.abc import Mapping

from yarl import URL

from core.field_errors import FieldError
from core.problems import Problem
from delivery.endpoints.masking import is_mask, pointer_of

_DETAIL = "The URL leads to another endpoint now: give the value of this header again, or leave the header out."


def require_values(given: Mapping[str, str] | None, *, stored: Mapping[str, str], before: str, after: str) -> None:
    """Raises Problem 422 that names the headers whose values are to go to another endpoint without being given anew.

    They may be tokens that nobody is shown: whoever changes the URL could else have them sent to a host of their own.
    `given` are the headers as they came with the change, masks and all; None when there were none with it.
    """
    if endpoint_of(before) == endpoint_of(after):
        return
    names = sorted(stored if given is None else (name for name, value in given.items() if is_mask(value)))
    errors = [FieldError(pointer=pointer_of(name), code="headers_required", detail=_DETAIL) for name in names]
    if errors:
        raise Problem("headers_required", errors=errors)


def endpoint_of(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port, whatever the case and whether or not the scheme's own port is named.

    By the parser that requests are sent with: where two of them disagree, this one decides where a header goes.
    """
    try:
        parts = URL(url)
    except ValueError:
        return url, "", None
    return parts.scheme, parts.raw_host or "", parts.port
