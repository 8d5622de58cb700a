"""JSON into msgspec structs; bad input names its field. Pure."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from core.field_errors import cut, field_error
from core.problems import Problem

T = TypeVar("T")


def parse(text: str | bytes) -> Any:
    """The value of valid JSON. Numbers beyond the range of a double are infinite, where msgspec alone would refuse."""
    try:
        return msgspec.json.decode(text)
    except msgspec.ValidationError:
        return json.loads(text)


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
