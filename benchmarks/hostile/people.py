"""Attacks on what people use, by nobody who is known, or by a member of an organization."""

import asyncio
import itertools
import json
import secrets
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import psycopg

from benchmarks.connection import Connection
from benchmarks.hostile.attacker import Attacker
from benchmarks.hostile.endpoints import counting, make_webhook
from benchmarks.servers import HOST
from benchmarks.streams import BATCH_PATH, SINGLE_PATH, event_body, request_head
from organizations.keys.key_format import generate_key

# Django compares the form's with the cookie's, which anybody may choose.
_TOKEN = "a" * 32
_SIGN_IN_PATHS = ("/console/sign-in/", "/admin/login/")
_FORM = "application/x-www-form-urlencoded"
# Without those that only this host may read: /metrics and /health/status.
_OPEN_PATHS = (
    "/", "/api/docs", "/api/schema?format=yaml", "/docs/errors", "/console/sign-in/", "/account/password/reset/",
    "/health/ready", "/health/live", "/admin/r/1/1/", "/API/v1/events", "//api/v1/events",
)  # fmt: skip
# Events that the suspended organization has, of which each replay takes all.
_EVENTS = 20
# For so long an answer about a key may be remembered.
_CACHED_SECONDS = 2.5
_DRAIN_SECONDS = 20.0
_FLOOD_CLIENTS = 32
WEBHOOK = "webhook"


async def sign_ins(attacker: Attacker) -> None:
    """44 at once, again and again, by names that are not known; some are too long for the database."""

    async def step(number: int) -> None:
        name = f"{secrets.token_hex(4)}{'x' * 300 if number % 4 == 0 else ''}"
        values = {"username": name, "password": "wrong"}
        await _post_form(attacker, _SIGN_IN_PATHS[number % len(_SIGN_IN_PATHS)], values, session="")

    await attacker.repeat(step, rate=44, at_once=44)


async def resets(attacker: Attacker) -> None:
    async def step(_: int) -> None:
        values = {"email": f"{secrets.token_hex(4)}@example.com"}
        await _post_form(attacker, "/account/password/reset/", values, session="")

    await attacker.repeat(step, rate=20)


async def open_pages(attacker: Attacker) -> None:
    """What may be read without a key."""
    requests = itertools.cycle([attacker.request("GET", path, key=False) for path in _OPEN_PATHS])
    await attacker.repeat(lambda _: attacker.send(next(requests)), rate=10)


async def unknown_keys(attacker: Attacker) -> None:
    """Well-formed ones, each of which has to be looked up."""

    async def step(number: int) -> None:
        authorization = f"Bearer {generate_key('live')}"
        method, body = ("POST", b"{}") if number % 2 else ("GET", b"")
        await attacker.send(attacker.request(method, SINGLE_PATH, body, key=False, authorization=authorization))

    await attacker.repeat(step, rate=50)


async def flood(attacker: Attacker) -> None:
    """Ten times what the plan `business` allows, of which `free` allows next to nothing: it is refused."""
    head, body = request_head(SINGLE_PATH, attacker.site.api_key), event_body("1", keyed=False)
    request = f"{head}{len(body)}\r\n\r\n{body}".encode()
    free = [Connection(HOST, attacker.site.port) for _ in range(_FLOOD_CLIENTS)]

    async def step(_: int) -> None:
        connection = free.pop()
        try:
            answer = await connection.exchange(request)
            attacker.outcomes[str(answer.status)] += 1
        finally:
            free.append(connection)

    await attacker.repeat(step, rate=10 * 10_000 / 60, at_once=_FLOOD_CLIENTS)


async def store_events(attacker: Attacker) -> None:
    """Five thousand."""
    events = ",".join(event_body(str(number), keyed=False) for number in range(1_000))
    for _ in range(5):
        await attacker.send(attacker.request("POST", BATCH_PATH, f"[{events}]".encode()))


async def far_pages(attacker: Attacker) -> None:
    """Lists by their costliest filters, far positions and forged ones, of the API and of the console."""
    queries = (
        "?limit=1000", "?limit=1000&type=*&received_after=0001-01-01T00:00:00Z&received_before=9999-12-31T00:00:00Z",
        "?limit=1000&type=a*&subject=x&source=y&status=failed", f"?cursor={'A' * 3_000}", f"?limit={'9' * 3_000}",
    )  # fmt: skip
    of_console = (
        "events/?path=a.b.c.d&value=x", "events/?path=lines.0.sku&value=none", "events/?type=*&subject=none",
        f"events/?path={'a.' * 200}&value=x", "events/?before=00000000-0000-7000-8000-000000000000", "usage/", "audit/",
        f"audit/?page=99999999999&before={'9' * 17}", "event-types/?page=99999999999", "subscriptions/", "live/",
    )  # fmt: skip
    requests = [
        *(attacker.request("GET", f"/api/v1/{name}{query}") for name in ("events", "event-types") for query in queries),
        *(_page_request(attacker, f"{_console(attacker)}{quote(path, safe='/?&=*')}") for path in of_console),
    ]
    await attacker.repeat(lambda number: attacker.send(requests[number % len(requests)]), rate=10)


async def streams(attacker: Attacker) -> None:
    """Live pages that one member keeps open."""
    request = _page_request(attacker, f"{_console(attacker)}live/stream")
    await attacker.repeat(lambda _: attacker.send(request), rate=50, at_once=200)


async def growth(attacker: Attacker) -> None:
    """More and more of what stays: types, keys, views, exports."""
    tag = secrets.token_hex(4)

    async def step(number: int) -> None:
        events = ",".join(f'{{"type":"{tag}.{number}.{index}","data":1}}' for index in range(1_000))
        form = {"name": f"{tag} {number}", "query": f"type={'x' * 1_000}", "format": "csv"}
        key = json.dumps({"name": tag, "scopes": ["events:read"]}).encode()
        if number % 10 == 0:
            await attacker.send(attacker.request("POST", BATCH_PATH, f"[{events}]".encode()))
        await attacker.send(attacker.request("POST", "/api/v1/api-keys", key))
        await _post_form(attacker, f"{_console(attacker)}views/save", form)
        await _post_form(attacker, f"{_console(attacker)}exports/new", form)

    await attacker.repeat(step, rate=5)


async def suspend(attacker: Attacker) -> None:
    """Suspend the organization, once it has events and a webhook that took them."""
    _set_suspension(attacker, suspended=False)
    await asyncio.sleep(_CACHED_SECONDS)
    endpoint = attacker.kept["endpoint"] = await counting(attacker, WEBHOOK)
    attacker.kept["webhook"] = await make_webhook(attacker, endpoint)
    for number in range(_EVENTS):
        await attacker.send(attacker.request("POST", SINGLE_PATH, event_body(str(number), keyed=False).encode()))
    listed = await attacker.call("GET", SINGLE_PATH)
    attacker.kept["event"] = listed["data"][0]["id"]
    deadline = time.monotonic() + _DRAIN_SECONDS
    while attacker.outcomes[WEBHOOK] < _EVENTS and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    _set_suspension(attacker, suspended=True)
    await asyncio.sleep(_CACHED_SECONDS)


async def replay_suspended(attacker: Attacker) -> None:
    """By the pages of the console; by the API it gets nothing."""
    webhook, now = attacker.kept["webhook"], datetime.now(UTC)
    whole = {
        "received_after": (now - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S"),
        "received_before": (now + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S"),
        "event_types": "*",
        "step": "start",
    }
    forms = [
        (f"events/{attacker.kept['event']}/replay", {"subscription": webhook, "confirmed": "1"}),
        (f"subscriptions/{webhook}/replay", whole),
        (f"subscriptions/{webhook}/test", {"type": "test", "payload": "{}"}),
    ]

    async def step(number: int) -> None:
        path, values = forms[number % len(forms)]
        await _post_form(attacker, f"{_console(attacker)}{path}", values)

    await attacker.repeat(step, rate=6)


def _set_suspension(attacker: Attacker, *, suspended: bool) -> None:
    with psycopg.connect(attacker.site.database, autocommit=True) as connection:
        connection.execute(
            "UPDATE organizations_organization SET suspended_at = CASE WHEN %s THEN now() END WHERE slug = %s",
            [suspended, attacker.site.organization],
        )


def _console(attacker: Attacker) -> str:
    return f"/console/o/{attacker.site.organization}/"


def _page_request(attacker: Attacker, path: str) -> bytes:
    return attacker.request("GET", path, key=False, cookie=f"sessionid={attacker.site.session}")


async def _post_form(attacker: Attacker, path: str, values: dict[str, str], *, session: str | None = None) -> None:
    """As the member, or as nobody by an empty `session`."""
    whose = attacker.site.session if session is None else session
    body = urlencode({**values, "csrfmiddlewaretoken": _TOKEN}).encode()
    cookie = f"csrftoken={_TOKEN}; sessionid={whose}"
    await attacker.send(attacker.request("POST", path, body, key=False, content_type=_FORM, cookie=cookie))


async def compute(_: Attacker) -> None:
    """Ask nothing, and compute all the time: what any other program on the machine does to everybody."""
    while True:
        end = time.monotonic() + 0.05
        while time.monotonic() < end:
            pass
        await asyncio.sleep(0)
