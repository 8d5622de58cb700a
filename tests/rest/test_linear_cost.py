"""What reads the text of a client takes time in proportion to it, whatever the text is.

Each target is given texts that repeat a piece of its own grammar, which is what makes patterns and loops slow, once
short and once eight times as long. Compared is CPU time, the least of some runs, as a ratio: neither the machine nor
its load matters. Work in proportion has a ratio of 8, quadratic work one of 64.
"""

import gzip
import json
import random
import re
import time
import zlib
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import partial
from io import BytesIO
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import pytest
from django.core.exceptions import DisallowedHost, TooManyFieldsSent, ValidationError
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, QueryDict
from django.http.multipartparser import MultiPartParserError
from django.test import Client, RequestFactory
from django.utils import timezone
from rest_framework.request import Request
from uvicorn.server import ServerState

from console.event.json_tree import json_tree
from console.events.filters import EventFilters
from console.search.wanted import Wanted
from console.subscriptions.forms import SubscriptionForm, read_json
from core import bounds
from core.field_errors import field_error
from core.ports import run_now
from core.problems import Problem
from core.tracing import read_context
from delivery.endpoints.header_rules import check_headers
from delivery.matching.event_view import EventView
from delivery.matching.filters import compile_filter, key_of
from delivery.matching.matching import check_patterns
from delivery.models import SubscriptionKind
from delivery.webhooks.guard import NetworkPolicy, UnsafeUrl, check_url
from delivery.webhooks.retry_schedule import parse_retry_after
from ingestion.data_paths import split_assignment
from ingestion.formats.cloudevents import decode_structured
from ingestion.formats.decoding import decode_event
from ingestion.formats.dispatch import decode_batch, decode_single
from ingestion.formats.request_headers import kept_headers
from ingestion.formats.stored_numbers import with_exponents
from ingestion.schemas.cost import estimate_cost, states_of_pattern
from ingestion.schemas.parts import SchemaError
from observability.logs import redact
from organizations.keys.authentication import _api_key_in
from organizations.keys.key_format import public_id
from organizations.operations.leaked_keys import _CANDIDATE
from portal.settings.rules import check_logo_url, check_origin
from rest.bodies import MAX_MEMBERS, STEP_BYTES, _members, content_type, require_utf8
from rest.doors.connections import Connection, Connections
from rest.doors.dear_headers import ContentTypeBound, CookieMiddleware
from rest.large_answers import _TAKES_GZIP
from rest.lists import _read_cursor
from rest.middleware import request_id_of
from rest.static_files.middleware import _REFUSES_GZIP
from rest.versions import expected_versions

SHORT, TIMES = 2_000, 8
# Between 8, with some noise, and 64.
MOST = 24
# Less than this is not worth a second look: quadratic work on 16 000 characters takes more, at a nanosecond a step.
LEAST_SECONDS = 0.002
# Whoever takes this long is slow by itself: no disturbance makes as much of a thread's own time.
CERTAIN_SECONDS = 0.05
PIECES = 25
REFUSALS = (Problem, SchemaError, UnsafeUrl, ValidationError, DisallowedHost, MultiPartParserError, TooManyFieldsSent)


class Target(NamedTuple):
    """A function of a text of a client, and the tokens of its grammar."""

    name: str
    run: Callable[[str], object]
    tokens: tuple[str, ...]


def in_event(member: str) -> Callable[[str], object]:
    return lambda text: decode_event(json.dumps({"type": "t", "data": 1, member: text}).encode())


def as_name(text: str) -> object:
    return decode_event(json.dumps({"type": "t", "data": 1, text: 1}).encode())


def as_raw_data(text: str) -> object:
    return decode_event(b'{"type":"t","data":%s}' % text.encode())


def as_batch(body: bytes) -> object:
    return decode_batch({"content-type": "application/json"}, body)


def as_tree(text: str) -> object:
    return json_tree(text) if is_json(text) else None


def as_lines(text: str) -> object:
    return decode_batch({"content-type": "application/x-ndjson"}, text.encode())


def in_headers(name: str) -> Callable[[str], object]:
    return lambda text: decode_single({"content-type": "application/json", name: text}, b'{"type":"t","data":1}')


def in_binary_mode(text: str) -> object:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": text, "ce-type": "t", f"ce-{text[:50]}": text}
    return decode_single(headers, b"1")


def in_structured_mode(text: str) -> object:
    event = {"specversion": "1.0", "id": "1", "source": text, "type": "t", "data": text, "x": text, text: text}
    return decode_structured(json.dumps(event).encode())


def in_filter(text: str) -> object:
    filters = ({f"data.{text}": 1}, {text: {text: text}}, {"any": [{"data.a": {"in": list(text)}}]})
    for wanted in filters:
        attempt(compile_filter, wanted)
    return None


def in_schema(text: str) -> object:
    """What is done before the schema goes to the engine, whose time is the matter of the process around it."""
    attempt(as_schema, {"$ref": "#/" + text})
    return states_of_pattern(text)


def as_schema(schema: Any) -> object:
    return estimate_cost(schema, is_schema=lambda _: True)


def as_retry_after(text: str) -> object:
    return parse_retry_after(text, timezone.now())


def in_query(text: str) -> object:
    return EventFilters.read(QueryDict("type=" + text + "&" + text), now=timezone.now())


def in_cookies(text: str) -> object:
    request = RequestFactory().get("/", headers={"Cookie": f'a="{text}"; b={text}'})
    return CookieMiddleware(lambda request: HttpResponse(str(request.COOKIES)))(request)


def in_host(text: str) -> object:
    return RequestFactory().get("/", headers={"Host": text, "X-Forwarded-For": text}).get_host()


def in_content_type_of_a_form(text: str) -> object:
    async def django(scope: dict[str, Any], *_: object) -> None:
        seen.append(ASGIRequest(scope, BytesIO(b"a=1")).POST)

    seen: list[object] = []
    headers = [(b"content-type", f"multipart/form-data; {text}".encode())]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
    run_now(ContentTypeBound(django)(scope, None, None))  # type: ignore[arg-type] # it only hands them on
    return seen


def in_connection(text: str) -> object:
    """In one piece, and in many."""
    data = text.encode()
    for size in (bounds.READ_BYTES, 100):
        loop = MagicMock(create_task=no_task)
        connection = Connection(CONNECTIONS, config=CONFIG, server_state=ServerState(), app_state={}, _loop=loop)  # type: ignore[arg-type]
        connection.connection_made(MagicMock())
        for start in range(0, len(data), size):
            part = data[start : start + size]
            connection.get_buffer(size)[: len(part)] = part
            connection.buffer_updated(len(part))
        connection.connection_lost(None)
    return None


def no_task(coroutine: Coroutine[Any, Any, None]) -> object:
    coroutine.close()
    return MagicMock()


def in_if_match(text: str) -> object:
    return expected_versions(Request(RequestFactory().get("/", headers={"If-Match": text})))


def in_form(text: str) -> object:
    lines = "\n".join(f"{text[:20]}{number}: {text[:20]}" for number in range(len(text) // 40))
    given = QueryDict(mutable=True)
    given.update({"url": text, "event_types": text, "filter": text, "headers": lines})
    return SubscriptionForm(given, kind=SubscriptionKind.WEBHOOK).is_valid()


def tokens(words: str, *others: str) -> tuple[str, ...]:
    """The words, and what holds white space."""
    return (*words.split(), *others)


JSON = tokens(r'{ } [ ] " \ , : 1 - e e9 0. "a": null \u0000 \" a', " ")
TEXT = tokens(r'` $ . [ ] a é \ " / ~', " ", "\n", "`\n", " - at `$", "` - at `$", "Object contains unknown field `")
HEADER = tokens(r'; , = " \ charset charset= a % %41 evp_ evp_a_ é - 00-', " ", "\t", "bearer ")
LOG = tokens("evp_ password cookie : = a :// @ ' \" \\ whsec_ /", " ", "bearer ", "basic ", "detail: ", "DETAIL: ")
PATTERN = tokens(r"[ ] ^ \ { } 1 , ( ) (?: * + ? a . | [^ \w {1,9}")
URL = tokens("https:// a . : [ ] / - 1 0x @ % é xn-- ? # ::")
HTTP = tokens(
    "GET a : ; , 1", " ", "\t", "\r\n", "\n", "a: b\r\n", "POST / HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.1\r\n\r\n",
    "Transfer-Encoding: chunked\r\n", "Content-Length: 3\r\n\r\nabc", "1\r\na\r\n", "1;a=b\r\na\r\n", "0\r\n\r\n",
    "Connection: Upgrade\r\nUpgrade: h2c\r\n",
)  # fmt: skip
QUERY = tokens("& = % %41 + a . path= value= ; a= from= 00:00", " ")

CONNECTIONS = Connections(lambda _: None)
CONFIG = SimpleNamespace(loaded_app=None)
TARGETS = (
    Target("message", lambda text: field_error(f"Object contains unknown field `{text}`"), TEXT),
    Target("message with a path", lambda text: field_error(f"{text} - at `$.{text}`"), TEXT),
    Target("unknown field", as_name, TEXT),
    Target("type", in_event("type"), TEXT),
    Target("source", in_event("source"), TEXT),
    Target("time", in_event("time"), ("0", "-", ":", "T", "Z", "+", ".", "2026-01-01T00:00:00", " ", "9")),
    Target("key", in_event("idempotency_key"), TEXT),
    Target("data", as_raw_data, JSON),
    Target("body", lambda text: decode_event(text.encode()), JSON),
    Target("batch", lambda text: as_batch(text.encode()), JSON),
    Target("batch of data", lambda text: as_batch(b'[{"type":"t","data":[%s]}]' % text.encode()), JSON),
    Target("lines", as_lines, (*JSON, "\n", "{}\n")),
    Target("structured", in_structured_mode, TEXT),
    Target("structured body", lambda text: decode_structured(text.encode()), JSON),
    Target("binary", in_binary_mode, HEADER),
    Target("Idempotency-Key", in_headers("idempotency-key"), HEADER),
    Target("Content-Type", lambda text: require_utf8(content_type({"content-type": f"a/b{text}"})[1]), HEADER),
    Target("Content-Type of a batch", lambda text: decode_batch({"content-type": text}, b"[]"), HEADER),
    Target("kept header", lambda text: kept_headers({"x-a": text, text: "a"}), HEADER),
    Target("traceparent", lambda text: read_context(f"00-{text}", text), (*HEADER, "0" * 32, "-00", "00-")),
    Target("Request-Id", request_id_of, HEADER),
    Target("API key", public_id, ("evp_", "a", "_", "evp_a_", "0")),
    Target("leaked key", _CANDIDATE.search, ("evp_", "a", "_", "evp_a_", "0", "\n")),
    Target("log line", redact, LOG),
    Target("header rules", lambda text: check_headers({text: text, "x": text}), (*HEADER, "\x01")),
    Target("event type pattern", lambda text: check_patterns([text]), ("a", ".", "*", "/", "\n", "é")),
    Target("filter", in_filter, (*TEXT, '."a"', ".0", "data")),
    Target("filtered data", lambda text: EventView("t", None, None, text).data if is_json(text) else None, JSON),
    Target("Retry-After", as_retry_after, tokens(r"\ 9 a , : GMT ( )", " ")),
    Target("URL", lambda text: check_url(text, NetworkPolicy()), URL),
    Target("pattern of a schema", in_schema, PATTERN),
    Target("query", in_query, QUERY),
    Target("Cookie", in_cookies, (*HEADER, "\\012", "; ")),
    Target("Host", in_host, URL),
    Target("Content-Type of a form", in_content_type_of_a_form, HEADER),
    Target("form", in_form, (*TEXT, ":", "a:")),
    Target("JSON field", read_json, JSON),
    Target("connection", in_connection, HTTP),
    Target("stored number", lambda text: with_exponents(text) if is_json(text) else None, (*JSON, "0" * 24)),
    Target("If-Match", in_if_match, tokens('" , W/ * a', "\\", " ", '"a", ')),
    Target("Accept-Encoding of a file", _REFUSES_GZIP.search, tokens("gzip * ; , q= q=0 . 0 a", " ", ";q=0.")),
    Target("Accept-Encoding", _TAKES_GZIP.search, tokens("gzip * ; , q= q=0 . 0 a", " ", "\t", ", gzip ;")),
    Target("key field", lambda text: _api_key_in({"authorization": text, "x-api-key": text}), HEADER),
    Target("cursor", lambda text: _read_cursor(text, "events"), tokens(": a = - _ 0 é . ,", " ")),
    Target("search box", Wanted.read, (*TEXT, "evp_live_", "…", "*", "=", "[0]")),
    Target("data path", split_assignment, (*TEXT, "data", "=", "[0]", "[*]")),
    Target("origin of a portal", check_origin, URL),
    Target("logo of a portal", check_logo_url, URL),
    Target("JSON tree", as_tree, JSON),
)  # fmt: skip


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def attempt(run: Callable[[Any], object], given: Any) -> None:
    with suppress(*REFUSALS):
        run(given)


def seconds(run: Callable[[str], object], text: str, *, runs: int) -> float:
    """CPU time of this thread, the least of some runs."""
    found = []
    for _ in range(runs):
        started = time.thread_time()
        attempt(run, text)
        found.append(time.thread_time() - started)
    return min(found)


def grows_too_fast(run: Callable[[str], object], text_of: Callable[[int], str]) -> str:
    """What is to be said of a function whose time grows faster than its text; nothing, mostly."""
    short, long = text_of(SHORT), text_of(SHORT * TIMES)
    if seconds(run, long, runs=1) < LEAST_SECONDS:
        return ""
    for runs in (1, 3, 10, 30):
        took = seconds(run, long, runs=runs)
        ratio = took / max(seconds(run, short, runs=runs), 1e-7)
        if ratio < MOST:
            return ""
        if runs > 1 and took > CERTAIN_SECONDS:
            break
    return f"{TIMES} times the text took {ratio:.0f} times as long: {long[:60]!r} … {long[-20:]!r}"


def texts(grammar: tuple[str, ...], chance: random.Random) -> Iterator[Callable[[int], str]]:
    """Texts of any length: a start, a piece that is repeated, and an end that may spoil what fitted until then."""
    pieces = [*grammar, *("".join(chance.choices(grammar, k=chance.randint(2, 3))) for _ in range(PIECES))]
    for piece in pieces:
        for end in ("", "\n", chance.choice(grammar)):
            start = chance.choice(("", *grammar))
            yield partial(repeated, start, piece, end)


def repeated(start: str, piece: str, end: str, size: int) -> str:
    return start + piece * (size // len(piece)) + end


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_time_grows_with_the_text_and_no_faster(target: Target) -> None:
    for text_of in texts(target.tokens, random.Random(target.name)):
        assert not grows_too_fast(target.run, text_of)


def nested(size: int) -> str:
    """Arrays as deep as they may be, one beside the other."""
    return "[" + ",".join(["[" * 60 + "]" * 60] * (size // 120)) + "]"


@pytest.mark.parametrize(
    "text_of",
    [
        nested,
        lambda size: "[" + ",".join(["9" * 390] * (size // 390)) + "]",
        lambda size: "[" + ",".join(['"\\"\\\\"'] * (size // 7)) + "]",
        lambda size: "{" + ",".join(f'"{number}":{{}}' for number in range(size // 9)) + "}",
        lambda size: '"' + "\\u0041" * (size // 6) + '"',
    ],
    ids=["brackets", "digits", "escapes", "members", "characters"],
)
def test_time_grows_with_data_that_is_well_formed(text_of: Callable[[int], str]) -> None:
    for run in (as_raw_data, read_json, as_tree, lambda text: as_batch(b'{"events":[%s]}' % text.encode())):
        assert not grows_too_fast(run, text_of)
        assert not grows_too_fast(run, lambda size: text_of(size) + "x")


def test_numbers_of_filters_that_python_hashes_alike_are_kept_apart() -> None:
    def keys(text: str) -> object:
        return {key_of(number * (2**61 - 1)) for number in range(1, len(text))}

    assert not grows_too_fast(keys, lambda size: "a" * size)
    big = 2**61 - 1
    assert key_of(big * 3) == key_of(big * 3)
    assert key_of(2**70) == key_of(2.0**70) != key_of(2**70 + 1)
    assert key_of(1) == key_of(1.0) != key_of(True)


def test_what_is_quadratic_is_found() -> None:
    """Else the tests above would prove nothing."""
    slow = re.compile(r"Object contains unknown field `(.*?)`(?: - at `\$(.*)`)?")
    assert grows_too_fast(
        slow.fullmatch, lambda size: "Object contains unknown field `" + "` - at `$ " * (size // 10) + "\n`"
    )


def test_cookies_with_many_escapes_are_not_read() -> None:
    seen: list[dict[str, str]] = []

    def view(request: HttpRequest) -> HttpResponse:
        seen.append(dict(request.COOKIES))
        return HttpResponse()

    for cookies in ('sessionid=abc; b="x\\"y"', 'sessionid=abc; b="' + '\\"' * 4000 + '"'):
        CookieMiddleware(view)(RequestFactory().get("/", headers={"Cookie": cookies}))
    assert seen == [{"sessionid": "abc", "b": 'x"y'}, {}]


def test_pages_read_none_of_such_cookies(db: None) -> None:
    """Whoever reads cookies comes behind the bound."""
    cookies = 'sessionid=abc; b="' + '\\"' * 4000 + '"'
    answer = Client().get("/console/sign-in/", headers={"Cookie": cookies})
    assert (answer.status_code, answer.wsgi_request.COOKIES) == (200, {})


def test_a_long_content_type_is_not_read() -> None:
    seen: list[object] = []

    async def django(scope: dict[str, Any], *_: object) -> None:
        seen.append([name for name, _ in scope["headers"]])

    for length in (100, 600):
        headers = [(b"content-type", b";" * length), (b"x", b"y"), (b"content-type", b";" * length)]
        run_now(ContentTypeBound(django)({"headers": headers}, None, None))  # type: ignore[arg-type] # likewise
    assert seen == [[b"content-type", b"x", b"content-type"], [b"x"]]


def test_what_stands_behind_a_compressed_member_is_copied_in_steps() -> None:
    """Of 126 empty members before 5 MB each would copy the rest."""
    copied = 0

    class Unpacker:
        def __init__(self) -> None:
            self.member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.member, name)

        def decompress(self, data: Any, room: int) -> bytes:
            nonlocal copied
            part = self.member.decompress(data, room)
            copied += len(self.member.unused_data) + len(self.member.unconsumed_tail)
            return part

    large = random.Random(1).randbytes(4_000_000)
    body = gzip.compress(b"") * (MAX_MEMBERS - 1) + gzip.compress(large)
    assert b"".join(_members(body, 5_000_000, unpacker=Unpacker)) == large
    assert copied <= MAX_MEMBERS * STEP_BYTES
