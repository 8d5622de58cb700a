"""`evp events`: looking at them."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer
from rich.markup import escape

from events_client.cli.output import Columns, Json, Limit, out, print_json, show, show_list, written
from events_client.cli.profiles import client_of
from events_client.shapes import Event, EventDetails

app = typer.Typer(no_args_is_help=True, help="Look at events.")

Type = Annotated[
    str | None, typer.Option("--type", "-t", metavar="PATTERN", help="Only this type; with a trailing * its start.")
]
_COLUMNS: Columns = (
    ("id", lambda event: event.id),
    ("received (UTC)", lambda event: event.received_at),
    ("type", lambda event: event.type),
    ("subject", lambda event: event.subject),
    ("status", lambda event: event.status),
    ("data", lambda event: event.raw_data),
)


@app.command(name="list")
def list_events(
    context: typer.Context,
    type: Type = None,  # noqa: A002 - the name of the parameter
    source: Annotated[str | None, typer.Option(help="Only from this source.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only about this subject.")] = None,
    after: Annotated[str | None, typer.Option(help="Only received after this time, in RFC 3339.")] = None,
    before: Annotated[str | None, typer.Option(help="Only received before this time, in RFC 3339.")] = None,
    status: Annotated[str | None, typer.Option(help="Only with this status.")] = None,
    limit: Limit = 20,
    json: Json = False,
) -> None:
    """Show events, newest first.

    Example: evp events list --type 'invoice.*' -n 5
    """
    with client_of(context) as client:
        found = client.events.list(
            type=type,
            source=source,
            subject=subject,
            received_after=after,
            received_before=before,
            status=status,
            page_size=min(limit, 1000),
        )
        show_list(islice(found, limit), _COLUMNS, json=json, empty="No such events.")


@app.command()
def get(context: typer.Context, event_id: str, json: Json = False) -> None:
    """Show one event with its deliveries and their attempts."""
    with client_of(context) as client:
        event = client.events.get(event_id)
    show(event, json=json, text=_described(event))


@app.command()
def tail(
    context: typer.Context,
    type: Type = None,  # noqa: A002 - the name of the parameter
    json: Json = False,
) -> None:
    """Show events as they arrive, until Ctrl-C."""
    with client_of(context, retry_seconds=3600) as client:
        for event in client.events.stream(type=type):
            _print(event, json=json)


def _print(event: Event, *, json: bool) -> None:
    if json:
        print_json(event)
    else:
        out.print(f"[dim]{written(event.received_at)}[/] {escape(event.type)} {escape(written(event.raw_data))}")


def _described(event: EventDetails) -> str:
    members = ("id", "type", "status", "source", "subject", "time", "received_at", "idempotency_key")
    lines = [f"[bold]{name:16}[/]{escape(written(getattr(event, name)))}" for name in members]
    lines.append(f"[bold]{'data':16}[/]{escape(bytes(event.raw_data).decode())}")
    for delivery in event.deliveries:
        lines.append(f"[bold]delivery[/] {delivery.id} to {delivery.subscription}: {delivery.status}")
        lines += [
            f"  attempt {each.number}, {written(each.started_at)}, {each.duration_ms} ms:"
            f" {each.status_code or ''} {each.error or 'delivered'}"
            for each in delivery.attempts
        ]
    return "\n".join(lines)
