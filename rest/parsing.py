"""Request bodies: bounded, UTF-8 JSON, decoded into msgspec structs; bad input names its field."""

import re
from typing import IO, Any, TypeVar

import msgspec
from django.core.exceptions import RequestDataTooBig
from django.http.request import RawPostDataException
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from rest.problems import FieldError, Problem

T = TypeVar("T")
_CHARSETS = {"utf-8", "utf8", "us-ascii"}
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*?)`(?: - at `\$(.*)`)?")
_MISSING_FIELD = re.compile(r"Object missing required field `(.*?)`(?: - at `\$(.*)`)?")
_AT_PATH = re.compile(r"(.*) - at `\$(.*)`", re.DOTALL)


class JSONParser(BaseParser):
    """Hands the bytes on: the views decode them straight into structs."""

    media_type = "application/json"

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Any = None) -> Any:
        return stream.read()


def read_body(request: Request, *, limit: int) -> bytes:
    """The body's bytes; 415 for another content type or charset, 413 above `limit` bytes."""
    main, _, parameters = request.content_type.partition(";")
    charset = re.search(r'charset="?([^";\s]+)', parameters, re.IGNORECASE)
    if main.strip().lower() != "application/json":
        raise Problem("unsupported_media_type", f"Send application/json, not {main.strip() or 'nothing'}.")
    if charset and charset[1].lower() not in _CHARSETS:
        raise Problem("unsupported_media_type", f"The charset {charset[1]} is not known here: send UTF-8.")
    if int(request.META.get("CONTENT_LENGTH") or 0) > limit:
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


def decode(body: bytes, kind: type[T]) -> T:
    """`body` as a struct of `kind`; 400 for what is no JSON, 422 naming the field that does not fit."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Problem("validation_failed", errors=[field_error(str(error))]) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("malformed_json", f"The body is not valid JSON: {error}.") from error
    except RecursionError as error:
        raise Problem("malformed_json", "The body is nested too deeply.") from error


def field_error(message: str) -> FieldError:
    """msgspec's message → the field's pointer, a code and the sentence."""
    for pattern, code, detail in (
        (_UNKNOWN_FIELD, "unknown_field", "There is no such field."),
        (_MISSING_FIELD, "required", "This field is required."),
    ):
        if found := pattern.fullmatch(message):
            return FieldError(pointer=_pointer(found[2]) + "/" + found[1], code=code, detail=detail)
    if found := _AT_PATH.fullmatch(message):
        return FieldError(pointer=_pointer(found[2]), code="invalid", detail=found[1])
    return FieldError(pointer="", code="invalid", detail=message)


def _pointer(path: str | None) -> str:
    """`.events[3].type` → `/events/3/type`."""
    return re.sub(r"\.|\[", "/", (path or "").replace("]", ""))
