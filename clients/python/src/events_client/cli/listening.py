"""`evp listen`: the events of the platform as signed webhooks to this machine.

They wait in an inbox that is made for it and removed at the end, so nothing is lost while either side restarts.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import time
import uuid
from collections import deque
from typing import Annotated

import httpx
import msgspec
import typer
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from events_client.cli.output import Json, note, out, print_json, written
from events_client.cli.profiles import client_of
from events_client.client import Client
from events_client.consuming import Consuming
from events_client.resources.inboxes import AsyncInbox
from events_client.shapes import InboxEvent
from events_client.webhooks import generate_secret, secret_key, signed_headers

_PREFIX = "evp-listen-"
_MADE_BY = f"Made by evp listen on {socket.gethostname()}, process "
_ROWS = 15
# A receiver may be away for an hour and more before its events are given up.
_MAX_LEASES = 1000
_ANSWER_SECONDS = 15.0
_LONGEST_REST = 5.0


class NotTakenError(Exception):
    """The receiver did not answer with a 2xx."""


def listen(
    context: typer.Context,
    forward: Annotated[str | None, typer.Option("--forward", "-f", metavar="URL", help="Where to send them.")] = None,
    types: Annotated[
        list[str], typer.Option("--types", "-t", help="Types, or starts with a trailing *; may be repeated.")
    ] = [],  # noqa: B006 - typer's way; it is not changed
    show: Annotated[bool, typer.Option("--print", "-p", help="Print the events, with their data.")] = False,
    secret: Annotated[
        str | None,
        typer.Option(envvar="EVP_LISTEN_SECRET", help="whsec_… to sign with; a new one is made when left out."),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=100, help="How many are sent at once.")] = 4,
    json: Json = False,
) -> None:
    """Forward events to a program on this machine, as webhooks that are signed like the platform's.

    What the receiver does not take (no 2xx) comes again. Ctrl-C ends it and removes what it made.

    Example: evp listen --forward http://localhost:3000/hook --types 'invoice.*'
    """
    if forward is None and not (show or json):
        raise typer.BadParameter("give --forward URL, or --print to look at them")
    if forward is not None and httpx.URL(forward).scheme not in {"http", "https"}:
        raise typer.BadParameter(f"{forward} is no http:// or https:// address")
    signing = secret or generate_secret()
    secret_key(signing)
    with client_of(context) as client:
        _remove_what_dead_ones_left(client)
        made = client.subscriptions.create_inbox(
            f"{_PREFIX}{uuid.uuid4().hex[:12]}",
            event_types=types or None,
            description=f"{_MADE_BY}{os.getpid()}.",
            max_leases=_MAX_LEASES,
        )
        _announce(signing, forward, types, json=json)
        try:
            asyncio.run(_consume(client, made.name, _Forwarding(forward, signing, show=show, json=json), concurrency))
        finally:
            client.subscriptions.delete(made.id)
            note("evp: ended, and removed its inbox")


class _Forwarding:
    """Sends each event to the receiver and shows what came of it."""

    def __init__(self, url: str | None, secret: str, *, show: bool, json: bool) -> None:
        self.url = url
        self.secret = secret
        self.show = show
        self.json = json
        self.live = url is not None and not (show or json) and out.is_terminal
        self.rows: deque[tuple[str, ...]] = deque(maxlen=_ROWS)
        self.taken = self.failed = 0

    async def forward(self, http: httpx.AsyncClient, event: InboxEvent) -> None:
        """Raises NotTakenError when it is to come again."""
        outcome, milliseconds = "seen", 0.0
        if self.url is not None:
            began = time.monotonic()
            outcome = await self._post(http, self.url, event)
            milliseconds = (time.monotonic() - began) * 1000
        taken = outcome == "seen" or outcome.startswith("2")
        self.taken += taken
        self.failed += not taken
        self._tell(event, outcome, milliseconds)
        if not taken:
            raise NotTakenError(outcome)

    async def _post(self, http: httpx.AsyncClient, url: str, event: InboxEvent) -> str:
        body = webhook_body(event)
        try:
            answer = await http.post(url, content=body, headers=signed_headers(self.secret, event.id, body))
        except httpx.HTTPError as error:
            return f"no answer ({type(error).__name__})"
        return str(answer.status_code)

    def _tell(self, event: InboxEvent, outcome: str, milliseconds: float) -> None:
        if self.json:
            told = {"id": event.id, "type": event.type, "outcome": outcome, "duration_ms": round(milliseconds)}
            print_json({**told, "leases": event.leases, "data": event.raw_data})
            return
        again = f" (attempt {event.leases})" if event.leases > 1 else ""
        row = (f"{time.strftime('%H:%M:%S')}", event.type, event.id, f"{outcome}{again}", f"{milliseconds:.0f} ms")
        self.rows.append(row)
        if not self.live:
            out.print(escape("  ".join(row)))
        if self.show:
            out.print(escape(bytes(event.raw_data).decode()))

    def __rich__(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left")
        for name in ("time", "type", "webhook-id", "answer", "took"):
            table.add_column(name, overflow="fold")
        for row in self.rows:
            colour = "green" if row[3].startswith("2") else "red"
            table.add_row(row[0], escape(row[1]), row[2], f"[{colour}]{escape(row[3])}[/]", row[4])
        table.caption = f"{self.taken} taken, {self.failed} not taken, which come again. Ctrl-C ends."
        return table


def webhook_body(event: InboxEvent) -> bytes:
    """The body of the webhook that the platform itself would send."""
    received = event.received_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    named = msgspec.json.encode(event.type)
    return b'{"id":"%b","type":%b,"timestamp":"%b","data":%b}' % (
        event.id.encode(),
        named,
        received.encode(),
        bytes(event.raw_data),
    )


async def _consume(client: Client, name: str, forwarding: _Forwarding, concurrency: int) -> None:
    # That an event was not taken is in the table already.
    logging.getLogger("events_client").addFilter(lambda record: not record.getMessage().startswith("event "))
    logging.basicConfig(level=logging.WARNING, format="evp: %(message)s", stream=sys.stderr)
    async with httpx.AsyncClient(timeout=_ANSWER_SECONDS, trust_env=False) as http, client.asynchronous() as waiting:
        consuming = Consuming(
            AsyncInbox(waiting, name),
            lambda event: forwarding.forward(http, event),
            concurrency=concurrency,
            retry_delay=lambda event: min(0.5 * event.leases, _LONGEST_REST),
            stop_seconds=5.0,
        )
        if not forwarding.live:
            await consuming.consume()
            return
        with Live(forwarding, console=out, refresh_per_second=4):
            await consuming.consume()


def _announce(secret: str, forward: str | None, types: list[str], *, json: bool) -> None:
    if json:
        print_json({"secret": secret, "forward": forward, "types": types or ["*"]})
        return
    out.print(f"Signing with [bold]{secret}[/]")
    wanted = escape(written(types)) if types else "all events"
    out.print(f"Listening for {wanted}" + (f", forwarding to {escape(forward)}" if forward else "") + "; Ctrl-C ends.")
    sys.stdout.flush()


def _remove_what_dead_ones_left(client: Client) -> None:
    """Inboxes of processes of this machine that were killed."""
    for each in client.subscriptions.list(kind="inbox"):
        number = each.description.removeprefix(_MADE_BY).rstrip(".")
        if each.name.startswith(_PREFIX) and number.isdecimal() and not _runs(int(number)):
            client.subscriptions.delete(each.id)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
