"""Request bodies: bounded, UTF-8 JSON. What they hold is decoded by core.decoding."""

from typing import IO, Any, TypeVar

from django.core.exceptions import RequestDataTooBig
from django.http.request import RawPostDataException
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from core import bounds
from core.decoding import decode
from core.field_errors import cut
from core.problems import Problem
from rest.bodies import content_type, require_utf8
from rest.compat import django_request

T = TypeVar("T")


class JSONParser(BaseParser):
    """Hands the bytes on: the views decode them straight into structs."""

    media_type = "application/json"

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Any = None) -> Any:
        return stream.read()


def read_body(request: Request, *, limit: int) -> bytes:
    """The body's bytes; 415 for another content type or charset, 413 above `limit` bytes."""
    main, charset = content_type({"content-type": request.content_type})
    if main != "application/json":
        raise Problem("unsupported_media_type", f"Send application/json, not {cut(main) or 'nothing'}.")
    require_utf8(charset)
    return read_raw(request, limit)


def read_optional(request: Request, kind: type[T], *, limit: int) -> T:
    """The body as a struct of `kind`, or its defaults when there is no body."""
    return decode(read_body(request, limit=limit), kind) if read_raw(request, limit) else kind()


def read_raw(request: Request, limit: int) -> bytes:
    """The body's bytes, whatever they are; 413 above `limit` bytes."""
    if int(request.META.get("CONTENT_LENGTH") or 0) > limit:
        _discard_body(request)
        raise Problem("payload_too_large", f"The body is over {limit} bytes.")
    try:
        body = django_request(request).body
    except RequestDataTooBig as error:
        raise Problem("payload_too_large", f"The body is over {limit} bytes.") from error
    except RawPostDataException as error:
        raise Problem("bad_request", "The body could not be read.") from error
    if len(body) > limit:
        raise Problem("payload_too_large", f"The body is over {limit} bytes.")
    return body


def _discard_body(request: Request) -> None:
    """A client that is still sending would never see the answer: let it finish, within bounds."""
    left = bounds.MAX_DISCARDED_BYTES
    while left > 0 and (part := django_request(request).read(65536)):
        left -= len(part)
