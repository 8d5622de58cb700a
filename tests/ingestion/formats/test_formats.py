"""Every format of the intake: what is taken, and how what is wrong is named. Pure; HTTP is tested elsewhere."""

import base64
import gzip
import json
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import zstandard
from cloudevents.core.bindings import http
from cloudevents.core.v1.event import CloudEvent

from core.problems import Problem
from ingestion.formats.decoding import MAX_DATA_BYTES, DecodedEvent, check_data, decode_event
from ingestion.formats.dispatch import (
    MAX_BATCH_BODY_BYTES,
    MAX_BATCH_EVENTS,
    MAX_SINGLE_BODY_BYTES,
    decode_batch,
    decode_single,
    is_batch,
)
from rest.bodies import MAX_MEMBERS, MAX_ZSTD_WINDOW, content_type, unpack

JSON = {"content-type": "application/json"}
LINES = {"content-type": "application/x-ndjson"}
STRUCTURED = {"content-type": "application/cloudevents+json"}
CLOUDEVENTS = {"content-type": "application/cloudevents-batch+json; charset=UTF-8"}
BINARY = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/a", "ce-type": "t"}
REQUIRED = b'"specversion":"1.0","id":"1","source":"/a","type":"t"'
MIB = 1024 * 1024
GOOD = b'{"type":"t","data":1}'


def problem_of(decode: Callable[..., Any], *given: Any) -> tuple[int, str, str | None]:
    """Status, code (of the first wrong field if there is one) and pointer of the Problem that `decode` raises."""
    with pytest.raises(Problem) as caught:
        decode(*given)
    return told(caught.value)


def told(problem: Problem) -> tuple[int, str, str | None]:
    first = next(iter(problem.errors), None)
    return problem.status_code, first.code if first else problem.problem_type.code, first.pointer if first else None


def attributes_of(event: DecodedEvent) -> dict[str, Any]:
    annotations: dict[str, dict[str, Any]] = json.loads(event.annotations or "{}")
    return annotations.get("attributes", {})


def event_of(item: DecodedEvent | Problem) -> DecodedEvent:
    assert isinstance(item, DecodedEvent)
    return item


# Native format


def test_it_works() -> None:
    body = b"""{"type":"t","data":{"a": [1]},"source":"/s","subject":"x","time":"2026-11-23T10:00:00Z",
        "idempotency_key":"k"}"""
    assert decode_single(JSON, body) == DecodedEvent(
        type="t",
        data='{"a": [1]}',
        source="/s",
        subject="x",
        time=datetime(2026, 11, 23, 10, tzinfo=UTC),
        idempotency_key="k",
        annotations=None,
    )


@pytest.mark.parametrize(
    "value",
    ["application/json", "Application/JSON", "application/json; charset=utf-8", 'application/json;charset="UTF-8"',
     "application/json; charset=us-ascii", "application/json; charset="],
)  # fmt: skip
def test_json_in_utf8_is_taken(value: str) -> None:
    assert decode_single({"content-type": value}, GOOD).type == "t"
    assert len(decode_batch({"content-type": value}, b"[%s]" % GOOD)) == 1


@pytest.mark.parametrize(
    "value",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "application/xml",
     "application/cloudevents+avro", "application/cloudevents+json; charset=latin-1", "jsonapplication/json"],
)  # fmt: skip
def test_other_media_types_and_charsets_are_refused(value: str) -> None:
    for decode in (decode_single, decode_batch):
        assert problem_of(decode, {"content-type": value}, GOOD)[0] == 415
    assert problem_of(decode_single, {}, GOOD)[0] == 415


def test_a_batch_is_no_single_event() -> None:
    assert problem_of(decode_single, LINES, GOOD)[0] == 415
    assert problem_of(decode_single, CLOUDEVENTS, b"[]")[0] == 415
    assert problem_of(decode_batch, STRUCTURED, b"{}")[0] == 415
    assert is_batch(CLOUDEVENTS)
    assert not any(is_batch(headers) for headers in (JSON, LINES, STRUCTURED, BINARY))


def test_the_header_names_the_key_unless_it_contradicts() -> None:
    with_key = b'{"type":"t","data":1,"idempotency_key":"k"}'
    assert decode_single({**JSON, "idempotency-key": "k"}, GOOD).idempotency_key == "k"
    assert decode_single({**JSON, "idempotency-key": "k"}, with_key).idempotency_key == "k"
    header = {**JSON, "idempotency-key": "other"}
    assert problem_of(decode_single, header, with_key) == (422, "contradiction", "/idempotency_key")
    sent = "Zoë-€-à".encode().decode("latin-1")
    in_body = '{"type":"t","data":1,"idempotency_key":"Zoë-€-à"}'.encode()
    assert decode_single({**JSON, "idempotency-key": sent}, in_body) == decode_single(JSON, in_body)
    assert decode_single({**JSON, "idempotency-key": "Zo\xeb"}, GOOD).idempotency_key == "Zoë"
    for bad in ("", "x" * 256, "\0"):
        assert problem_of(decode_single, {**JSON, "idempotency-key": bad}, GOOD)[0] == 422


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        (b'"type":"t","data":1,"type":"u"', "/type"),
        (b'"data":"type","type":"t","type":"u"', "/type"),
        (b'"type":"t","data":"type","type":"u"', "/type"),
        (b'"type":"t","data":1,"data":1', "/data"),
        (b'"type":"t","data":1,"d\\u0061ta":1', "/data"),
        (b'"type":"t","data":1,"source":null,"source":null', "/source"),
        (b'"type":"t","data":{"type":1,"type":2},"subject":"\\"","subject":"x"', "/subject"),
    ],
)
def test_repeated_members_are_refused(members: bytes, pointer: str) -> None:
    assert problem_of(decode_event, b"{%s}" % members) == (422, "repeated_field", pointer)
    (item,) = decode_batch(JSON, b"[{%s}]" % members)
    assert isinstance(item, Problem)
    assert told(item) == (422, "repeated_field", pointer)


@pytest.mark.parametrize(
    "members",
    [
        b'"type":"t","data":{"type":1,"type":2}',
        b'"type":"t","data":"\\"type\\":","source":"\\"type\\": 1"',
        b'"ty\\u0070e":"t","data":1,"source":null,"subject":null,"time":null,"idempotency_key":null',
    ],
)
def test_what_only_looks_repeated_is_taken(members: bytes) -> None:
    assert decode_event(b"{%s}" % members).type == "t"


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2016-12-31T23:59:60Z",
                                  "2026-01-01T00:00:00", "yesterday", "2026-13-01T00:00:00Z", ""])  # fmt: skip
def test_times_that_cannot_be_kept_are_refused(time: str) -> None:
    assert problem_of(decode_event, b'{"type":"t","data":1,"time":"%s"}' % time.encode())[2] == "/time"
    assert problem_of(decode_single, {**BINARY, "ce-time": time}, b"")[2] == "/time"


def test_the_first_and_the_last_moment_are_taken() -> None:
    for time in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00-14:00"):
        event = decode_event(b'{"type":"t","data":1,"time":"%s"}' % time.encode())
        assert event.time
        assert event.time.astimezone(UTC).year in (1, 9999)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'"\\u0000"', "nul_character"), (b'"\\\\\\u0000"', "nul_character"), (b'{"\\u0000":1}', "nul_character"),
        (b"[" * 65 + b"]" * 65, "too_deep"), (b'{"a":' * 65 + b'"]]]"' + b"}" * 65, "too_deep"),
        (b'["' + b"]" * 99 + b'",' + b"[" * 64 + b"]" * 65, "too_deep"),
        (b'["\\"' + b"]" * 99 + b'\\\\",' + b"[" * 64 + b"]" * 65, "too_deep"),
        (b"1e309", "number_out_of_range"), (b"1E+309", "number_out_of_range"), (b"9" * 309, "number_out_of_range"),
        (b"1.5e00000000309", "number_out_of_range"), (b"9" * 401, "number_out_of_range"),
        (b"-" + b"9" * 400, "number_out_of_range"), (b"1.7976931348623159e308", "number_out_of_range"),
        (b"1" * 211 + b"." + b"1" * 132 + b"e99", "number_out_of_range"),
        (b"1e" + b"0" * 999 + b"309", "number_out_of_range"),
        (b'["1e5",{"e":[true,1e400]}]', "number_out_of_range"),
        (b'"' + b"x" * (MAX_DATA_BYTES - 1) + b'"', "payload_too_large"),
    ],
)  # fmt: skip
def test_data_that_nobody_can_hold_is_refused(data: bytes, code: str) -> None:
    assert problem_of(check_data, data)[1] == code
    (item, good) = decode_batch(JSON, b'[{"type":"t","data":%s},%s]' % (data, GOOD))
    assert isinstance(item, Problem)
    assert told(item)[1] == code
    assert isinstance(good, DecodedEvent)


@pytest.mark.parametrize(
    "data",
    [
        b"null", b'"\\ud83d\\ude00"', b'"\\\\u0000"', b'"\\\\\\\\u0000"', b"[" * 64 + b"]" * 64,
        b"[%s]" % (b"[]," * 99 + b"[]"),
        b'"' + b"[" * 99 + b'"', b'["' + b"\\\\" * 9 + b'","' + b"{" * 99 + b'\\""]', b"1e308", b"1e-308", b"9" * 308,
        b"5e-324", b"1e-400", b"-0", b"1.10", b"1E5", b"1.7976931348623157e308", b"0." + b"0" * 9_999,
        b"1e-99999999999", b"1" * 99_999 + b"e-99999", b"0e99999999999", b"-1e" + b"0" * 5_000,
        b'"1e999"', b'"' + b"9" * 999 + b'"',
        b'["0e1234567890","%s",1e5]' % (b"1" * 999), b"[%s1]" % (b"1234567," * 999),
        b'"' + b"x" * (MAX_DATA_BYTES - 2) + b'"',
    ],
)  # fmt: skip
def test_any_other_json_is_data(data: bytes) -> None:
    check_data(data)
    json.loads(data)
    assert event_of(decode_batch(LINES, b'{"type":"t","data":%s}' % data)[0]).data == data.decode()


def test_content_decides_the_fingerprint() -> None:
    base = DecodedEvent(type="t", data="1", source=None, subject=None, time=None, idempotency_key="k")
    same = DecodedEvent(type="t", data="1", source=None, subject=None, time=None, idempotency_key="other")
    assert base.fingerprint == same.fingerprint
    prints = {base.fingerprint}
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=1)))
    changes: list[dict[str, Any]] = [
        {"type": "u"}, {"data": "2"}, {"source": "x"}, {"subject": "x"}, {"time": noon}, {"annotations": "{}"},
    ]  # fmt: skip
    given = {"type": "t", "data": "1", "source": None, "subject": None, "time": None, "idempotency_key": "k"}
    prints |= {DecodedEvent(**{**given, **change}).fingerprint for change in changes}
    assert len(prints) == 1 + len(changes)
    assert all(len(each) == 32 for each in prints)


# Batches


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON, b'{"events":[%s,%s]}' % (GOOD, GOOD)),
        (JSON, b" \r\n\t[ %s , %s ] " % (GOOD, GOOD)),
        (LINES, b"%s\n%s" % (GOOD, GOOD)),
        (LINES, b"\n \r\n%s\r\n\t\n  %s  \n\n" % (GOOD, GOOD)),
        ({"content-type": "application/ndjson"}, b"%s\n%s\n" % (GOOD, GOOD)),
        ({"content-type": "application/jsonl; charset=utf-8"}, b"%s\n%s\n" % (GOOD, GOOD)),
        (CLOUDEVENTS, b"[{%s},{%s}]" % (REQUIRED, REQUIRED)),
    ],
)
def test_batches_work(headers: dict[str, str], body: bytes) -> None:
    assert [event_of(item).type for item in decode_batch(headers, body)] == ["t", "t"]


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        (JSON, b"", (400, "malformed_json", None)),
        (JSON, b"[%s" % GOOD, (400, "malformed_json", None)),
        (JSON, b"[%s]x" % GOOD, (400, "malformed_json", None)),
        (JSON, b'{"events":[%s,{"type":"t","data":"\xff"}]}' % GOOD, (400, "malformed_json", None)),
        (JSON, b"[" * 9000, (400, "malformed_json", None)),
        (JSON, b"1", (422, "invalid", "")),
        (JSON, b"{}", (422, "required", "/events")),
        (JSON, b'{"events":{}}', (422, "invalid", "/events")),
        (JSON, b'{"events":[]}', (422, "required", "/events")),
        (JSON, b"[]", (422, "required", "/events")),
        (JSON, b'{"events":[%s],"colour":1}' % GOOD, (422, "unknown_field", "/colour")),
        (JSON, b'{"events":[%s],"events":[%s]}' % (GOOD, GOOD), (422, "repeated_field", "/events")),
        (JSON, b"[%s]" % b",".join([GOOD] * (MAX_BATCH_EVENTS + 1)), (413, "payload_too_large", None)),
        (JSON, b'{"events":[%s]}' % b",".join([b"1"] * 2_000_000), (413, "payload_too_large", None)),
        (JSON, b"[%s]" % (b" " * MAX_BATCH_BODY_BYTES), (413, "payload_too_large", None)),
        (LINES, b"", (422, "required", "/events")),
        (LINES, b" \n\n", (422, "required", "/events")),
        (LINES, b"\n" * 20_000, (413, "payload_too_large", None)),
        (LINES, b"1\n" * (MAX_BATCH_EVENTS + 1), (413, "payload_too_large", None)),
        (CLOUDEVENTS, b"[]", (422, "required", "/events")),
        (CLOUDEVENTS, b"{}", (422, "invalid", "")),
        ({**JSON, "idempotency-key": "k"}, b"[%s]" % GOOD, (422, "contradiction", "/idempotency_key")),
    ],
)
def test_a_bad_batch_is_refused_as_a_whole(
    headers: dict[str, str], body: bytes, expected: tuple[int, str, str | None]
) -> None:
    assert problem_of(decode_batch, headers, body) == expected


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (b"1", (422, "invalid", "")),
        (b"{}", (422, "required", "/type")),
        (b'{"type":"a b","data":1}', (422, "invalid", "/type")),
        (b'{"type":"t"}', (422, "required", "/data")),
        (b'{"type":"t","data":1,"colour":2}', (422, "unknown_field", "/colour")),
        (b'{"type":"t","data":1,"subject":"\\u0000"}', (422, "nul_character", "/subject")),
        (b'{"type":"t","data":1,"time":"9999-12-31T23:59:59-01:00"}', (422, "invalid", "/time")),
        (b'{"type":"t","data":1,"source":"%s"}' % (b"x" * 1025), (422, "invalid", "/source")),
        (b'{"type":"t","data":1,"subject":"%s"}' % (b"x" * 1025), (422, "invalid", "/subject")),
        (b'{"type":"t","data":"%s"}' % (b"x" * MAX_DATA_BYTES), (413, "payload_too_large", None)),
    ],
)
def test_a_bad_event_is_named_in_its_place(bad: bytes, expected: tuple[int, str, str | None]) -> None:
    for headers, body in (
        (JSON, b'{"events":[%s,%s,%s]}' % (GOOD, bad, GOOD)),
        (JSON, b"[%s,%s,%s]" % (GOOD, bad, GOOD)),
        (LINES, b"%s\n%s\n%s" % (GOOD, bad, GOOD)),
    ):
        first, wrong, last = decode_batch(headers, body)
        assert isinstance(wrong, Problem)
        assert told(wrong) == expected
        assert isinstance(first, DecodedEvent)
        assert isinstance(last, DecodedEvent)


@pytest.mark.parametrize(
    "bad", [b"{", b'{"type":"t","data":"\xff"}', GOOD + b"," + GOOD, GOOD + GOOD, b'{"type":"t","data":[1']
)
def test_a_malformed_line_spoils_no_other(bad: bytes) -> None:
    first, wrong, last = decode_batch(LINES, b"%s\n%s\n%s" % (GOOD, bad, GOOD))
    assert isinstance(wrong, Problem)
    assert told(wrong) == (400, "malformed_json", None)
    assert isinstance(first, DecodedEvent)
    assert isinstance(last, DecodedEvent)


def test_a_full_batch_keeps_its_order() -> None:
    lines = [b'{"type":"t","data":"\xc3\xa4","idempotency_key":"%d"}' % number for number in range(MAX_BATCH_EVENTS)]
    for headers, body in ((JSON, b"[%s]" % b",".join(lines)), (LINES, b"\n".join(lines))):
        events = decode_batch(headers, body)
        assert [event_of(event).idempotency_key for event in events] == [str(n) for n in range(MAX_BATCH_EVENTS)]
        assert event_of(events[0]).data == '"ä"'


# CloudEvents


def test_structured_cloudevents_work() -> None:
    body = b"""{%s, "subject": "s", "time": "2026-11-23T10:00:00Z", "dataschema": "https://example.com/s", "flag": true,
        "datacontenttype": "application/json", "number": -5, "text": "\\u00e4", "unset": null, "data": {"a":  1}}"""
    event = decode_single({**STRUCTURED, "idempotency-key": "ignored"}, body % REQUIRED)
    assert (event.type, event.source, event.subject, event.data) == ("t", "/a", "s", '{"a":  1}')
    assert event.time == datetime(2026, 11, 23, 10, tzinfo=UTC)
    assert event.idempotency_key == "/a 1"
    assert attributes_of(event) == {
        "specversion": "1.0", "id": "1", "dataschema": "https://example.com/s",
        "flag": True, "number": -5, "text": "ä",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("media_type", "in_body", "body", "data"),
    [
        ("application/json", None, b"[1]", b"[1]"),
        ("application/json", "application/json; charset=utf-8", b"[1]", b"[1]"),
        ('Application/JSON ; Charset="UTF-8"', "application/json;charset=us-ascii", b"[1]", b"[1]"),
        ("application/json", None, b"", b"null"),
        ("application/xml", "application/xml", b"<a/>", b'"<a/>"'),
        ("text/plain", "text/plain", b"x", b'"x"'),
    ],
)
def test_the_mode_does_not_matter(media_type: str, in_body: str | None, body: bytes, data: bytes) -> None:
    """A retry in another mode is the same event; JSON is the default content type, said or not."""
    binary = decode_single({**BINARY, "content-type": media_type, "ce-ext": "x"}, body)
    said = b'"datacontenttype":%s,' % json.dumps(in_body).encode()
    structured = decode_single(STRUCTURED, b'{%s,%s"ext":"x","data":%s}' % (REQUIRED, said, data))
    assert binary == structured
    assert binary.fingerprint == structured.fingerprint


def test_long_attributes_are_taken() -> None:
    long = {"subject": "s" * 1024, "dataschema": "d" * 4096, "dataref": "r" * 4096, "id": "i" * 4096}
    members = json.dumps({"specversion": "1.0", "source": "/" * 1024, "type": "t", **long}).encode()
    structured = decode_single(STRUCTURED, members)
    headers = {"ce-source": "/" * 1024, **{f"ce-{name}": value for name, value in long.items()}}
    assert decode_single({**BINARY, **headers}, b"") == structured
    assert (structured.source, structured.subject) == ("/" * 1024, "s" * 1024)
    assert attributes_of(structured) == {"specversion": "1.0", **{k: long[k] for k in ("dataschema", "dataref", "id")}}
    native = b'{"type":"t","data":1,"source":"%s","subject":"%s"}' % ("ä".encode() * 1024, b"s" * 1024)
    assert decode_single(JSON, native).source == "ä" * 1024


def test_the_order_of_attributes_does_not_matter() -> None:
    one = decode_single(STRUCTURED, b'{%s,"a":"1","b":"2"}' % REQUIRED)
    other = decode_single(STRUCTURED, b'{"b":"2",%s,"a":"1"}' % REQUIRED)
    changed = decode_single(STRUCTURED, b'{"b":"2",%s,"a":"2"}' % REQUIRED)
    assert one.fingerprint == other.fingerprint != changed.fingerprint


@pytest.mark.parametrize(
    ("member", "data", "is_bytes"),
    [
        (b"", "null", False),
        (b',"data":null', "null", False),
        (b',"data":"x","datacontenttype":"text/plain"', '"x"', False),
        (b',"data_base64":"AP8="', '"AP8="', True),
        (b',"data_base64":""', '""', True),
        (b',"data_base64":null,"data":1', "1", False),
    ],
)
def test_data_of_structured_cloudevents(member: bytes, data: str, is_bytes: bool) -> None:
    event = decode_single(STRUCTURED, b"{%s%s}" % (REQUIRED, member))
    assert event.data == data
    assert attributes_of(event).get("data_base64", False) is is_bytes


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{", (400, "malformed_json", None)),
        (b'{%s,"data":"\xff"}', (400, "malformed_json", None)),
        (b'{"id":"1","source":"/a","type":"t"}', (422, "required", "/specversion")),
        (b'{"specversion":"1.0","source":"/a","type":"t"}', (422, "required", "/id")),
        (b'{"specversion":"1.0","id":"1","type":"t"}', (422, "required", "/source")),
        (b'{"specversion":"1.0","id":"1","source":"/a"}', (422, "required", "/type")),
        (b'{"specversion":"0.3","id":"1","source":"/a","type":"t"}', (422, "invalid", "/specversion")),
        (b'{"specversion":"1.0","id":"","source":"/a","type":"t"}', (422, "invalid", "/id")),
        (b'{"specversion":"1.0","id":"1","source":"/a b","type":"t"}', (422, "invalid", "/source")),
        (b'{"specversion":"1.0","id":"1","source":"/a","type":"a b"}', (422, "invalid", "/type")),
        (b'{"specversion":"1.0","id":"\\u0000","source":"/a","type":"t"}', (422, "nul_character", "/id")),
        (b'{%s,"id":"2"}', (422, "repeated_field", "/id")),
        (b'{%s,"data":1,"data":2}', (422, "repeated_field", "/data")),
        (b'{%s,"ext":1,"ext":2}', (422, "repeated_field", "/ext")),
        (b'{%s,"data":1,"data_base64":"AA=="}', (422, "contradiction", "/data_base64")),
        (b'{%s,"data_base64":"AA"}', (422, "invalid", "/data_base64")),
        (b'{%s,"data_base64":"A-_="}', (422, "invalid", "/data_base64")),
        (b'{%s,"data_base64":"AA==\\n"}', (422, "invalid", "/data_base64")),
        (b'{%s,"data_base64":1}', (422, "invalid", "/data_base64")),
        (b'{%s,"Ext":1}', (422, "unknown_field", "/Ext")),
        (b'{%s,"a/b~":1}', (422, "unknown_field", "/a~1b~0")),
        (b'{%s,"idempotency_key":"k"}', (422, "unknown_field", "/idempotency_key")),
        (b'{%s,"ext":{}}', (422, "invalid", "/ext")),
        (b'{%s,"ext":1.5}', (422, "invalid", "/ext")),
        (b'{%s,"ext":1e999}', (422, "invalid", "/ext")),
        (b'{%s,"ext":2147483648}', (422, "invalid", "/ext")),
        (b'{%s,"ext":"\\u0000"}', (422, "nul_character", "/ext")),
        (b'{%s,"time":"never"}', (422, "invalid", "/time")),
        (b'{%s,"data":"\\u0000"}', (422, "nul_character", "/data")),
        (b'{%s,"data":1e999}', (422, "number_out_of_range", "/data")),
        (b'{%s,"dataschema":"\\u0000"}', (422, "nul_character", "/dataschema")),
        (b"{%s," + b",".join(b'"e%d":1' % n for n in range(65)) + b"}", (422, "too_many", "")),
        (b'{%s,"ext":"' + b"x" * 4097 + b'"}', (422, "invalid", "/ext")),
        (b'{%s,"dataschema":"' + b"x" * 4097 + b'"}', (422, "invalid", "/dataschema")),
        (b'{%s,"subject":"' + b"x" * 1025 + b'"}', (422, "invalid", "/subject")),
        (b'{%s,"data":"' + b"x" * MAX_DATA_BYTES + b'"}', (413, "payload_too_large", None)),
    ],
)
def test_bad_structured_cloudevents_are_named(body: bytes, expected: tuple[int, str, str | None]) -> None:
    body = body.replace(b"%s", REQUIRED)
    assert problem_of(decode_single, STRUCTURED, body) == expected
    if expected[0] != 400:
        bad, good = decode_batch(CLOUDEVENTS, b"[%s,{%s}]" % (body, REQUIRED))
        assert isinstance(bad, Problem)
        assert told(bad) == expected
        assert isinstance(good, DecodedEvent)


def test_no_two_pairs_of_source_and_id_share_a_key() -> None:
    longest = decode_single({**BINARY, "ce-source": "/" * 127, "ce-id": "x" * 127}, b"")
    assert longest.idempotency_key == "/" * 127 + " " + "x" * 127
    keys = {
        decode_single({**BINARY, "ce-source": "/" * first, "ce-id": "/" * (300 - first)}, b"").idempotency_key
        for first in range(50, 250)
    }
    assert len(keys) == 200
    assert all(key and key.startswith("sha256:") and len(key) == 7 + 64 for key in keys)


@pytest.mark.parametrize(
    ("media_type", "body", "data", "is_bytes"),
    [
        ("application/json", b' {"a": 1} ', '{"a": 1}', False),
        ("application/json; profile=a", b"1", "1", False),
        ("application/vnd.x+json", b'"x"', '"x"', False),
        ("text/json", b"1", "1", False),
        (None, b"[]", "[]", False),
        ("text/plain", 'ä\n"'.encode(), '"ä\\n\\""', False),
        ("text/plain; charset=us-ascii", b"1", '"1"', False),
        ("application/xml", b"<a/>", '"<a/>"', False),
        ("application/atom+xml; charset=utf-8", "<ä/>".encode(), '"<ä/>"', False),
        ("application/xml", b"<\xff/>", '"PP8vPg=="', True),
        ("application/xml; charset=utf-16", b"<a/>", '"PGEvPg=="', True),
        ("application/octet-stream", b"\x00\xff", '"AP8="', True),
        ("application/x-ndjson", b"1", '"MQ=="', True),
        ("application/json", b"", "null", False),
        ("image/png", b"", "null", False),
    ],
)
def test_data_of_binary_cloudevents(media_type: str | None, body: bytes, data: str, is_bytes: bool) -> None:
    event = decode_single({**BINARY, **({"content-type": media_type} if media_type else {})}, body)
    assert event.data == data
    assert attributes_of(event).get("data_base64", False) is is_bytes
    assert attributes_of(event).get("datacontenttype", "application/json") == (media_type or "application/json")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("Euro%20%e2%82%ac", "Euro €"),
        ("Euro%20€ à".encode().decode("latin-1"), "Euro € à"),
        ("%41b", "Ab"),
        ("%2541", "%41"),
        ('"a b"', "a b"),
        (r'"a \"b\" \\ %41"', r'a "b" \ A'),
        ("100%", "100%"),
        (" x ", "x"),
    ],
)
def test_header_values_are_unescaped_once(value: str, text: str) -> None:
    event = decode_single({**BINARY, "ce-subject": value, "ce-ext": value}, b"")
    assert event.subject == text
    assert attributes_of(event)["ext"] == text


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"ce-id": ""}, b"", (422, "invalid", "/id")),
        ({"ce-specversion": "2.0"}, b"", (422, "invalid", "/specversion")),
        ({"ce-source": "a%20b"}, b"", (422, "invalid", "/source")),
        ({"ce-type": "a b"}, b"", (422, "invalid", "/type")),
        ({"ce-ext": "%C0%A0"}, b"", (422, "invalid", "/ext")),
        ({"ce-ext": "%ED%A0%80"}, b"", (422, "invalid", "/ext")),
        ({"ce-ext": "é"}, b"", (422, "invalid", "/ext")),
        ({"ce-ext": "€"}, b"", (422, "invalid", "/ext")),
        ({"ce-ext": "%00"}, b"", (422, "nul_character", "/ext")),
        ({"ce-subject": "%00"}, b"", (422, "nul_character", "/subject")),
        ({"ce-ext": "x" * 4097}, b"", (422, "invalid", "/ext")),
        ({"ce-my-ext": "x"}, b"", (422, "unknown_field", "/my-ext")),
        ({"ce-": "x"}, b"", (422, "unknown_field", "/")),
        ({"ce-datacontenttype": "text/plain"}, b"", (422, "unknown_field", "/datacontenttype")),
        ({"ce-data": "1"}, b"", (422, "unknown_field", "/data")),
        ({"content-type": "x" * 4097}, b"", (422, "invalid", "/datacontenttype")),
        ({"content-type": "application/json; charset=utf-16"}, b"1", (415, "unsupported_media_type", None)),
        ({"content-type": "text/plain; charset=latin-1"}, b"1", (415, "unsupported_media_type", None)),
        ({"content-type": "application/cloudevents+avro"}, b"1", (415, "unsupported_media_type", None)),
        ({}, b"{", (400, "malformed_json", None)),
        ({}, b"\xff", (400, "malformed_json", None)),
        ({}, b'"\\u0000"', (422, "nul_character", "/data")),
        ({"content-type": "text/plain"}, b"\xff", (422, "invalid", "/data")),
        ({"content-type": "text/plain"}, b"\x00", (422, "nul_character", "/data")),
        ({"content-type": "text/plain"}, b"\x01" * 50_000, (413, "payload_too_large", None)),
        ({"content-type": "image/png"}, b"x" * 200_000, (413, "payload_too_large", None)),
        ({}, b"x" * (MAX_SINGLE_BODY_BYTES + 1), (413, "payload_too_large", None)),
    ],
)
def test_bad_binary_cloudevents_are_named(
    headers: dict[str, str], body: bytes, expected: tuple[int, str, str | None]
) -> None:
    assert problem_of(decode_single, {**BINARY, **headers}, body) == expected


def test_the_content_type_goes_before_the_headers() -> None:
    event = decode_single({**STRUCTURED, **BINARY, "ce-id": "header"}, b"{%s}" % REQUIRED)
    assert attributes_of(event)["id"] == "1"


SDK_ATTRIBUTES = {
    "specversion": "1.0",
    "id": "a-1",
    "source": "/billing/ä",
    "type": "com.example.paid",
    "subject": "Euro € 😀",
    "time": datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2))),
    "traceparent": "00-%41",
}


@pytest.mark.parametrize(
    ("data", "media_type", "stored"),
    [
        ({"amount": 12900, "text": "ä"}, "application/json", {"amount": 12900, "text": "ä"}),
        ("plain ä", "text/plain", "plain ä"),
        (b"\x00\xff", "application/octet-stream", base64.b64encode(b"\x00\xff").decode()),
    ],
)
def test_the_public_sdk_is_understood_in_every_mode(data: Any, media_type: str, stored: Any) -> None:
    sent = CloudEvent(attributes={**SDK_ATTRIBUTES, "datacontenttype": media_type}, data=data)
    structured, binary = http.to_structured_event(sent), http.to_binary_event(sent)
    events = [
        decode_single({name.lower(): value for name, value in message.headers.items()}, message.body)
        for message in (structured, binary)
    ]
    events += [event_of(item) for item in decode_batch(CLOUDEVENTS, b"[%s,%s]" % (structured.body, structured.body))]
    for event in events:
        assert (event.type, event.source, event.subject) == ("com.example.paid", "/billing/ä", "Euro € 😀")
        assert event.time == SDK_ATTRIBUTES["time"]
        assert event.idempotency_key == "/billing/ä a-1"
        assert json.loads(event.data) == stored
        attributes = {"specversion": "1.0", "id": "a-1", "traceparent": "00-%41"}
        attributes |= {} if media_type == "application/json" else {"datacontenttype": media_type}
        assert attributes_of(event) == attributes | ({"data_base64": True} if isinstance(data, bytes) else {})


def test_the_public_sdk_sends_events_without_data() -> None:
    sent = CloudEvent(attributes=SDK_ATTRIBUTES)
    for message in (http.to_structured_event(sent), http.to_binary_event(sent)):
        assert decode_single(message.headers, message.body).data == "null"


# Content types and encodings


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("application/json", ("application/json", None)),
        (' Text/Plain ; Charset = "UTF-16" ; x=1', ("text/plain", "utf-16")),
        ("a/b; mycharset=x", ("a/b", None)),
        ("", ("", None)),
        ("a/b; boundary=x;charset=utf-8", ("a/b", "utf-8")),
    ],
)
def test_content_type_is_taken_apart(value: str, expected: tuple[str, str | None]) -> None:
    assert content_type({"content-type": value}) == expected
    assert content_type({}) == ("", None)


def zstd(data: bytes, **options: Any) -> bytes:
    compressed: bytes = zstandard.ZstdCompressor(**options).compress(data)
    return compressed


def zstd_of_unknown_size(data: bytes) -> bytes:
    compressor = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    compressed: bytes = compressor.compress(data) + compressor.flush()
    return compressed


@pytest.mark.parametrize("data", [b"", b"x", b"hello " * 100_000, bytes(range(256)) * 4000])
def test_encodings_are_taken_off(data: bytes) -> None:
    assert unpack(data, None, MIB) == unpack(data, "identity", MIB) == unpack(data, "", MIB) == data
    for packed in (gzip.compress(data), gzip.compress(data[:7]) + gzip.compress(data[7:])):
        assert unpack(packed, "gzip", MIB) == unpack(packed, " X-GZIP ", MIB) == data
    for packed in (
        zstd(data),
        zstd(data, write_checksum=True),
        zstd_of_unknown_size(data),
        zstd(data[:7]) + zstd(data[7:]),
    ):
        assert unpack(packed, "zstd", MIB) == data


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd,gzip", "gzip;q=1", "*"])
def test_other_encodings_are_refused(encoding: str) -> None:
    assert problem_of(unpack, b"", encoding, 10)[0] == 415


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstd), ("zstd", zstd_of_unknown_size)]
)
def test_damaged_bodies_are_refused(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(b"hello hello hello " * 20)
    for end in range(len(packed)):
        assert problem_of(unpack, packed[:end], encoding, MIB)[0] == 400
    for tail in (b"\0", b"x", b"garbage garbage"):
        assert problem_of(unpack, packed + tail, encoding, MIB)[0] == 400
    for wrong in (b"plain text", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\0" * 100):
        assert problem_of(unpack, wrong, encoding, MIB)[0] == 400


@pytest.mark.parametrize(
    ("encoding", "pack"), [(None, bytes), ("gzip", gzip.compress), ("zstd", zstd), ("zstd", zstd_of_unknown_size)]
)
def test_the_limit_is_exact(encoding: str | None, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(b"x" * 1000)
    assert len(unpack(packed, encoding, 1000)) == 1000
    assert problem_of(unpack, packed, encoding, 999)[0] == 413


def test_bombs_are_not_inflated() -> None:
    """A bomb of 256 MiB ends after the limit: what is inflated is counted, not timed."""
    zeros = b"\0" * (64 * MIB)
    bombs = {"gzip": gzip.compress(zeros) * 4, "zstd": zstd_of_unknown_size(zeros) * 4}
    for encoding, bomb in bombs.items():
        tracemalloc.start()
        assert problem_of(unpack, bomb, encoding, MIB)[0] == 413
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 * MIB, encoding


def test_endless_members_are_refused() -> None:
    assert problem_of(unpack, gzip.compress(b"") * (MAX_MEMBERS + 1), "gzip", MIB)[0] == 400
    assert problem_of(unpack, zstd(b"") * (MAX_MEMBERS + 1), "zstd", MIB)[0] == 400


def test_a_window_that_takes_too_much_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = compressor.compress(b"x" * 100) + compressor.flush()
    assert zstandard.get_frame_parameters(packed).window_size > MAX_ZSTD_WINDOW
    assert problem_of(unpack, packed, "zstd", MIB)[0] == 400
