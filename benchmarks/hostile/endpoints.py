"""Endpoints of an attacker, and attacks by what they answer or by how many there are."""

import asyncio
import json
from collections.abc import Awaitable, Callable

from benchmarks.hostile.attacker import Attacker
from benchmarks.servers import HOST
from benchmarks.streams import SINGLE_PATH, event_body

_Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n" * 2_500
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_INBOXES = 300


async def start_flooding_endpoint(attacker: Attacker) -> None:
    """Its answer begins with informational ones, without end."""

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof() and not writer.is_closing():
            writer.write(_CONTINUE)
            await writer.drain()

    attacker.kept["webhook"] = await make_webhook(attacker, await _listen(attacker, flood))


async def send_tests(attacker: Attacker) -> None:
    path = f"/api/v1/subscriptions/{attacker.kept['webhook']}/test"
    await attacker.repeat(lambda _: attacker.send(attacker.request("POST", path, b"{}")), rate=2, at_once=4)


async def send_events(attacker: Attacker) -> None:
    """As many as the plan `free` allows, within some seconds."""
    body = event_body("1", keyed=False).encode()
    await attacker.repeat(lambda _: attacker.send(attacker.request("POST", SINGLE_PATH, body)), rate=12)


async def make_inboxes(attacker: Attacker) -> None:
    """Each takes every event."""
    for number in range(_INBOXES):
        body = json.dumps({"kind": "inbox", "name": f"inbox-{number}"}).encode()
        await attacker.send(attacker.request("POST", "/api/v1/subscriptions", body))


async def counting(attacker: Attacker, outcome: str) -> str:
    """The URL of an endpoint that takes everything, and counts it as an outcome."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attacker.outcomes[outcome] += 1
        writer.write(_OK)
        await writer.drain()

    return await _listen(attacker, take)


async def make_webhook(attacker: Attacker, url: str) -> str:
    """The id of a new one, in place of those that there were."""
    listed = await attacker.call("GET", "/api/v1/subscriptions?kind=webhook")
    for webhook in listed["data"]:
        await attacker.send(attacker.request("DELETE", f"/api/v1/subscriptions/{webhook['id']}"))
    made = await attacker.call("POST", "/api/v1/subscriptions", {"kind": "webhook", "url": url, "event_types": ["*"]})
    found: str = made["id"]
    return found


async def _listen(attacker: Attacker, answer: _Answering) -> str:
    """The URL of a server that reads the head of a request, answers, and closes; it lasts as long as the attack."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(reader, writer)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    server = attacker.kept["server"] = await asyncio.start_server(serve, HOST, 0)
    return f"http://{HOST}:{server.sockets[0].getsockname()[1]}/"
