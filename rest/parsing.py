"""Request bodies: bounded, UTF-8 JSON, decoded into msgspec structs; bad input names its field."""

from collections.abc import Callable
from typing import IO, Any, TypeVar

import msgspec
from django.core.exceptions import RequestDataTooBig
from django.http.request import RawPostDataException
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from rest.bodies import content_type, require_utf8
from rest.field_errors import cut, field_error
from rest.problems import Problem

T = TypeVar("T")
# How much of a body that is too large is read before the connection is given up.
MAX_DISCARDED_BYTES = 16 * 1024 * 1024


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


def read_raw(request: Request, limit: int) -> bytes:
    """The body's bytes, whatever they are; 413 above `limit` bytes."""
    if int(request.META.get("CONTENT_LENGTH") or 0) > limit:
        _discard_body(request)
        raise Problem("payload_too_large", f"The body is over {limit} bytes.")
    try:
        body = request._request.body
    except RequestDataTooBig as error:
        raise Problem("payload_too_large", f"The body is over {limit} bytes.") from error
    except RawPostDataException as error:
        raise Problem("bad_request", "The body could not be read.") from error
    if len(body) > limit:
        raise Problem("payload_too_large", f"The body is over {limit} bytes.")
    return body


def _discard_body(request: Request) -> None:
    """A client that is still sending would never see the answer: let it finish, within bounds."""
    left = MAX_DISCARDED_BYTES
    while left > 0 and (part := request._request.read(65536)):
        left -= len(part)


def decode(body: bytes, kind: type[T]) -> T:
    """`body` as a struct of `kind`; 400 for what is no JSON, 422 naming the field that does not fit."""
    return decode_with(msgspec.json.Decoder(kind).decode, body)


def decode_with(decoder: Callable[[bytes], T], body: bytes) -> T:
    """The same by a prepared `decoder`, such as `msgspec.json.Decoder(kind).decode`."""
    try:
        return decoder(body)
    except msgspec.ValidationError as error:
        raise Problem("validation_failed", errors=[field_error(str(error))]) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("malformed_json", f"The body is not valid JSON: {cut(str(error))}.") from error
    except RecursionError as error:
        raise Problem("malformed_json", "The body is nested too deeply.") from error
