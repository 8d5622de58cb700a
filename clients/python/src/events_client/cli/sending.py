"""`evp send`: one event, or a stream of them."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from msgspec import Raw
from rich.markup import escape

from events_client.cli.account import read_bytes
from events_client.cli.output import Json, show
from events_client.cli.profiles import client_of
from events_client.cli.streams import send_stream


def send(
    context: typer.Context,
    type: Annotated[  # noqa: A002 - the name of the member
        str | None, typer.Argument(metavar="TYPE", help="Type of the event; with --ndjson the file, or - .")
    ] = None,
    data: Annotated[
        str | None, typer.Argument(metavar="[JSON|@FILE|-]", help="Data, sent as it is written; null when left out.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Where it comes from.")] = None,
    subject: Annotated[str | None, typer.Option(help="What it is about.")] = None,
    time: Annotated[str | None, typer.Option(help="When it happened, in RFC 3339.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key makes the same event; a random one when left out.")
    ] = None,
    deliver_at: Annotated[str | None, typer.Option(help="Not before this time, in RFC 3339.")] = None,
    ndjson: Annotated[bool, typer.Option("--ndjson", help="Send a file or standard input, one event a line.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a file where the last run stopped.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Send a file from its begin, in spite of that.")] = False,
    json: Json = False,
) -> None:
    """Send an event, or with --ndjson a whole stream of them.

    Examples: evp send invoice.paid '{"amount": 12900}'   ·   evp send invoice.paid @paid.json   ·   evp send --ndjson
    events.ndjson   ·   produce | evp send --ndjson -
    """
    if ndjson:
        if data is not None:
            raise typer.BadParameter("--ndjson takes one file, or - for standard input")
        with client_of(context, retry_seconds=600) as client:
            send_stream(client, (type or "-").removeprefix("@"), resume=resume, restart=restart, json=json)
        return
    if type is None:
        raise typer.BadParameter("which TYPE of event? For example: evp send invoice.paid '{\"amount\": 12900}'")
    raw = read_bytes(data) if data is not None else b"null"
    _require_json(raw, from_argument=data is not None and data != "-" and not data.startswith("@"))
    with client_of(context) as client:
        accepted = client.events.send(
            type,
            Raw(raw),
            source=source,
            subject=subject,
            time=time,
            idempotency_key=idempotency_key,
            deliver_at=deliver_at,
        )
    again = " (it was there already)" if accepted.duplicate else ""
    show(accepted, json=json, text=f"{escape(accepted.status)} {accepted.id}{again}")


def _require_json(raw: bytes, *, from_argument: bool) -> None:
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        hint = " A text needs quotes of its own: '\"text\"'." if from_argument else ""
        raise typer.BadParameter(f"the data is not JSON: {error}.{hint}") from None
