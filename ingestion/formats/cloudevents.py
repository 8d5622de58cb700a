"""CloudEvents 1.0 → events: the JSON format, alone and in batches, and the binary mode of HTTP. Pure.

Sources: CloudEvents 1.0.2, its JSON Event Format and its HTTP Protocol Binding; sections are named where a rule is.

`type`, `source`, `subject`, `time` and `data` have columns of their own; every other attribute goes into
`annotations` as `{"attributes": {…}}`, sorted by name. Data that is bytes is stored as base64 text, with
`"data_base64": true` among the attributes (no extension can have that name). The idempotency key is
`source`, a space, `id`, or, over 255 characters, `sha256:` and the hash of that in hexadecimal: no source holds
whitespace, so no two pairs share a key. A header Idempotency-Key is not looked at: source and id are what
identifies a CloudEvent, in every mode and at every hop. The extensions `deliverat` and `delayseconds` say when it is
to be handed on, as `deliver_at` and `delay_seconds` do in the native format.
"""

import binascii
import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from core.decoding import decode_with
from core.field_errors import pointer_to, text_like
from core.problems import Problem, invalid
from ingestion.fields import MAX_REFERENCE
from ingestion.formats.decoding import (
    DecodedEvent,
    Delay,
    Due,
    Reference,
    Time,
    TypeName,
    check_data,
    check_time,
    checked_due,
    checked_key,
    checked_source,
    checked_text,
    on_one_line,
    refuse_repeated_members,
    require_utf8_bytes,
    rounded,
)
from rest.bodies import content_type, require_utf8

# The specification asks senders for at most 20 characters, and receivers for nothing.
EXTENSION_NAME = re.compile(r"[a-z0-9]{1,64}")
MAX_EXTENSIONS = 64
# Characters of a string: `dataref`, `tracestate` and the names of objects are long.
MAX_ATTRIBUTE = 4096
# Of header fields. In latin-1, the last byte of an `à` in UTF-8 looks like a space, too.
_WHITE_SPACE = " \t"
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')

# The default, which one mode says and another leaves out, or spells differently.
_DEFAULT_TYPE = re.compile(
    r'application/json\s*(?:;\s*charset\s*=\s*("?)(?:utf-?8|us-ascii)\1\s*)?', re.IGNORECASE | re.ASCII
)

Source = Annotated[
    str, text_like(rf"\A\S{{1,{MAX_REFERENCE}}}\Z", f"1 to {MAX_REFERENCE} characters without white space")
]
Attribute = Annotated[str, Meta(min_length=1, max_length=MAX_ATTRIBUTE)]
Attributes = dict[str, str | int | bool]
Extension = Annotated[str, Meta(max_length=MAX_ATTRIBUTE)] | Annotated[int, Meta(ge=-(2**31), lt=2**31)] | bool | None


class CloudEvent(Struct, kw_only=True, gc=False):
    """The attributes that the specification names; what else there is are extensions. A null is as good as absent."""

    specversion: Literal["1.0"]
    id: Attribute
    source: Source
    type: TypeName
    subject: Reference | UnsetType | None = UNSET
    time: Time | UnsetType | None = UNSET
    datacontenttype: Attribute | UnsetType | None = UNSET
    dataschema: Attribute | UnsetType | None = UNSET
    data: Raw | UnsetType = UNSET
    data_base64: str | UnsetType | None = UNSET


_NAMES = frozenset(CloudEvent.__struct_fields__)
_decode_known = msgspec.json.Decoder(CloudEvent).decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_extension = msgspec.json.Decoder(Extension).decode
_decode_raw = msgspec.json.Decoder(Raw).decode
_encode = msgspec.json.Encoder(order="sorted").encode


def decode_structured(body: bytes) -> DecodedEvent:
    """The event of one JSON object (JSON Event Format, 3). Raises Problem 400, 413 or 422."""
    require_utf8_bytes(body)
    event = decode_with(_decode_known, body)
    data, is_bytes = _data_of(event)
    quotes = body.count(b'"') - (0 if event.data is UNSET else data.count(b'"'))
    extensions = {} if quotes == _count_quotes(event) else _extensions_of(body)
    return _event_of(event, data, extensions, is_bytes=is_bytes)


def decode_binary(headers: Mapping[str, str], body: bytes) -> DecodedEvent:
    """The event of `ce-` headers with its data as the body (HTTP Protocol Binding, 3.1). Raises Problem 400 to 422.

    JSON, also by default, stays JSON; text and XML become a JSON string, as the structured mode has them; anything else
    is bytes. No body is null.
    """
    attributes = {name[3:]: _header_text(name, value) for name, value in headers.items() if name.startswith("ce-")}
    for name in ("data", "data_base64", "datacontenttype"):
        if name in attributes:
            raise invalid(f"/{name}", "unknown_field", "In binary mode this is the body or the Content-Type.")
    if headers.get("content-type"):
        attributes["datacontenttype"] = headers["content-type"].strip(_WHITE_SPACE)
    known = {name: value for name, value in attributes.items() if name in _NAMES}
    event = decode_with(_decode_known, _encode(known))
    data, is_bytes = _body_as_data(headers, body)
    extensions = _checked_extensions({name: _encode(value) for name, value in attributes.items() if name not in _NAMES})
    return _event_of(event, data, extensions, is_bytes=is_bytes)


def _event_of(event: CloudEvent, data: bytes, extensions: Attributes, *, is_bytes: bool) -> DecodedEvent:
    has_wide_numbers = check_data(data)
    if event.time:
        check_time("/time", event.time)
    text = on_one_line(data)
    source = checked_source(event.source) or ""
    # A source that begins as the platform's keys do would make a key that does.
    checked_key("/source", source)
    return DecodedEvent(
        type=event.type,
        data=text,
        rounded=rounded(text) if has_wide_numbers else None,
        source=source,
        subject=checked_text("/subject", event.subject),
        time=event.time or None,
        idempotency_key=_key(source, checked_text("/id", event.id) or ""),
        annotations=_annotations(event, extensions, is_bytes=is_bytes),
        due=_due_of(extensions) if extensions else None,
    )


def _due_of(extensions: Attributes) -> Due | None:
    """Binary mode has no numbers, so the seconds may be text."""
    deliver_at, delay = _converted(extensions, "deliverat", Time), _converted(extensions, "delayseconds", Delay)
    return checked_due("/deliverat", deliver_at, "/delayseconds", delay)


def _converted(extensions: Attributes, name: str, kind: Any) -> Any:
    value = extensions.get(name)
    if value is None:
        return None
    try:
        return msgspec.convert(str(value), kind, strict=kind is Time)
    except msgspec.ValidationError as error:
        detail = "This is no time in RFC 3339." if kind is Time else "This is no number of seconds from 0 on."
        raise invalid(f"/{name}", "invalid", detail) from error


def _annotations(event: CloudEvent, extensions: Attributes, *, is_bytes: bool) -> str:
    attributes: Attributes = {"specversion": event.specversion, "id": event.id, **extensions}
    media_type = checked_text("/datacontenttype", event.datacontenttype)
    if media_type and not _DEFAULT_TYPE.fullmatch(media_type):
        attributes["datacontenttype"] = media_type
    if schema := checked_text("/dataschema", event.dataschema):
        attributes["dataschema"] = schema
    if is_bytes:
        attributes["data_base64"] = True
    return _encode({"attributes": attributes}).decode()


def _key(source: str, event_id: str) -> str:
    key = f"{source} {event_id}"
    return key if len(key) <= 255 else "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def _data_of(event: CloudEvent) -> tuple[bytes, bool]:
    """The JSON text of the data, and whether it is base64 of bytes (JSON Event Format, 3.1)."""
    if not isinstance(event.data_base64, str):
        return (b"null" if event.data is UNSET else bytes(event.data)), False
    if event.data is not UNSET:
        raise invalid("/data_base64", "contradiction", "data and data_base64 exclude each other.")
    try:
        binascii.a2b_base64(event.data_base64, strict_mode=True)
    except ValueError as error:
        raise invalid("/data_base64", "invalid", "This is not base64 with its padding (RFC 4648, 4).") from error
    return b'"%s"' % event.data_base64.encode(), True


def _count_quotes(event: CloudEvent) -> int:
    """The quotes of an object without extensions and without repeated names; see `decoding.count_quotes`."""
    quotes = 16 if event.data is UNSET else 18
    for value in (event.subject, event.time, event.datacontenttype, event.dataschema, event.data_base64):
        if value is not UNSET:
            quotes += 2 if value is None else 4
    return quotes


def _extensions_of(body: bytes) -> Attributes:
    """The members that the specification does not name; 422 if any name is there twice."""
    members = decode_with(_decode_members, body)
    if body.count(b'"') != 2 * len(members) + b"".join(members.values()).count(b'"'):
        refuse_repeated_members(body)
    return _checked_extensions({name: bytes(raw) for name, raw in members.items() if name not in _NAMES})


def _checked_extensions(given: Mapping[str, bytes]) -> Attributes:
    """Extensions by their JSON texts; CloudEvents 1.0.2, 3.1: names of lower-case letters and digits, no structures."""
    if len(given) > MAX_EXTENSIONS:
        raise invalid("", "too_many", f"An event has at most {MAX_EXTENSIONS} extension attributes.")
    extensions: Attributes = {}
    for name, text in given.items():
        pointer = pointer_to(name)
        if not EXTENSION_NAME.fullmatch(name):
            raise invalid(pointer, "unknown_field", "The name of an extension attribute is 1 to 64 of a–z and 0–9.")
        try:
            value = _decode_extension(text)
        except msgspec.ValidationError as error:
            kinds = f"a string of up to {MAX_ATTRIBUTE} characters, a boolean or a 32-bit integer"
            raise invalid(pointer, "invalid", f"An extension attribute is {kinds}.") from error
        if isinstance(value, str):
            checked_text(pointer, value)
        if value is not None:
            extensions[name] = value
    return extensions


def _header_text(name: str, value: str) -> str:
    """Unescape a double-quoted value, then percent-decode once (HTTP Protocol Binding, 3.1.3.2).

    What should be percent-encoded and comes as it is, in UTF-8, is taken: several of the official SDKs send it so.
    """
    value = value.strip(_WHITE_SPACE)
    if quoted := _QUOTED.fullmatch(value):
        value = re.sub(r"\\(.)", r"\1", quoted[1])
    try:
        return unquote_to_bytes(value.encode("latin-1")).decode()
    except UnicodeError as error:
        raise invalid(pointer_to(name[3:]), "invalid", "A header takes UTF-8, percent-encoded or as it is.") from error


def _body_as_data(headers: Mapping[str, str], body: bytes) -> tuple[bytes, bool]:
    main, charset = content_type(headers)
    if not body:
        return b"null", False
    if is_json(main):
        require_utf8(charset)
        require_utf8_bytes(body)
        return bytes(decode_with(_decode_raw, body)), False
    if main.startswith("text/"):
        require_utf8(charset)
        return _text_as_data(body), False
    if main.endswith(("/xml", "+xml")):
        # It may say itself that it has another encoding.
        with suppress(UnicodeDecodeError, Problem):
            require_utf8(charset)
            return _encode(body.decode()), False
    return b'"%s"' % binascii.b2a_base64(body, newline=False), True


def _text_as_data(body: bytes) -> bytes:
    try:
        return _encode(body.decode())
    except UnicodeDecodeError as error:
        raise invalid("/data", "invalid", f"The text is not UTF-8: byte {error.start} is wrong.") from error


def is_json(media_type: str) -> bool:
    """Whether data of this media type is JSON; so it is without one (JSON Event Format, 3.1.1)."""
    return not media_type or media_type.endswith(("/json", "+json"))
