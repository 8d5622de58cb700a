"""`evp subscriptions`, `evp dead-letters`, `evp replay`."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from itertools import islice
from typing import Annotated, TypeVar

import msgspec
import typer
from rich.markup import escape

from events_client.cli.output import Columns, Json, Limit, show, show_list
from events_client.cli.profiles import client_of
from events_client.shapes import Job, Replay

app = typer.Typer(no_args_is_help=True, help="Webhooks and inboxes.")
dead_letters = typer.Typer(no_args_is_help=True, help="Deliveries that were given up.")

Subscription = Annotated[str, typer.Argument(metavar="SUBSCRIPTION", help="Its id.")]
Types = Annotated[list[str], typer.Option("--types", "-t", help="Types, or starts with a trailing *; may be repeated.")]
T = TypeVar("T", Job, Replay)

_COLUMNS: Columns = (
    ("id", lambda each: each.id),
    ("kind", lambda each: each.kind),
    ("name or URL", lambda each: each.url or each.name),
    ("types", lambda each: each.event_types),
    ("status", lambda each: each.status),
)
_DEAD_LETTERS: Columns = (
    ("delivery", lambda each: each.id),
    ("event", lambda each: each.event_id),
    ("type", lambda each: each.event_type),
    ("attempts", lambda each: each.attempts),
    ("error", lambda each: each.last_error),
)
_PAUSE_SECONDS = 0.5


@app.command(name="list")
def list_subscriptions(context: typer.Context, limit: Limit = 100, json: Json = False) -> None:
    """Show the subscriptions, newest first."""
    with client_of(context) as client:
        show_list(islice(client.subscriptions.list(), limit), _COLUMNS, json=json, empty="There are none.")


@app.command()
def get(context: typer.Context, subscription: Subscription, json: Json = False) -> None:
    """Show one of them."""
    with client_of(context) as client:
        found = client.subscriptions.get(subscription)
    show(found, json=json, text=escape(msgspec.json.format(msgspec.json.encode(found)).decode()))


@app.command()
def create(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(help="A webhook: where to send.")] = None,
    inbox: Annotated[str | None, typer.Option(help="An inbox: its name.")] = None,
    types: Types = [],  # noqa: B006 - typer's way; it is not changed
    description: Annotated[str | None, typer.Option(help="For people.")] = None,
    json: Json = False,
) -> None:
    """Make a webhook (--url), whose secret is shown, or an inbox (--inbox).

    Example: evp subscriptions create --url https://example.com/hook --types 'invoice.*'
    """
    with client_of(context) as client:
        if url is not None and inbox is None:
            made = client.subscriptions.create_webhook(url, event_types=types or None, description=description)
        elif inbox is not None and url is None:
            made = client.subscriptions.create_inbox(inbox, event_types=types or None, description=description)
        else:
            raise typer.BadParameter("give either --url or --inbox")
    secret = f"\nsecret {made.secret}" if made.secret else ""
    show(made, json=json, text=f"{made.status} {made.id}{secret}")


@app.command()
def delete(context: typer.Context, subscription: Subscription, json: Json = False) -> None:
    """Remove one; nothing more is delivered to it."""
    with client_of(context) as client:
        client.subscriptions.delete(subscription)
    show({"id": subscription, "deleted": True}, json=json, text="deleted")


@app.command()
def pause(context: typer.Context, subscription: Subscription, json: Json = False) -> None:
    """Hold its deliveries until it is resumed."""
    with client_of(context) as client:
        found = client.subscriptions.pause(subscription)
    show(found, json=json, text=found.status)


@app.command()
def resume(context: typer.Context, subscription: Subscription, json: Json = False) -> None:
    """Deliver what was held, also when it was disabled."""
    with client_of(context) as client:
        found = client.subscriptions.resume(subscription)
    show(found, json=json, text=found.status)


@app.command()
def secret(context: typer.Context, subscription: Subscription, json: Json = False) -> None:
    """Show the secret that signs what a webhook gets."""
    with client_of(context) as client:
        found = client.subscriptions.secret(subscription)
    show(found, json=json, text=found.secret)


@app.command(name="test")
def try_out(context: typer.Context, subscription: Subscription, json: Json = False) -> None:
    """Send a webhook one event, and show what comes of it. Exit status 1 when it was not delivered."""
    with client_of(context) as client:
        result = client.subscriptions.test(subscription)
    show(result, json=json, text=escape(f"{'delivered' if result.delivered else result.error}: {result.detail}"))
    if not result.delivered:
        raise typer.Exit(1)


@dead_letters.command(name="list")
def list_dead_letters(
    context: typer.Context, subscription: Subscription, limit: Limit = 50, json: Json = False
) -> None:
    """Show the dead letters of a subscription, those of the newest events first."""
    with client_of(context) as client:
        found = client.subscriptions.deliveries(subscription, status="dead_letter", page_size=min(limit, 1000))
        show_list(islice(found, limit), _DEAD_LETTERS, json=json, empty="There are none.")


@dead_letters.command()
def retry(
    context: typer.Context,
    subscription: Subscription,
    types: Types = [],  # noqa: B006 - typer's way; it is not changed
    error: Annotated[str | None, typer.Option(help="Only those whose last attempt had this error.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job is over.")] = False,
    json: Json = False,
) -> None:
    """Deliver the dead letters of a subscription again."""
    with client_of(context) as client:
        job = client.subscriptions.retry_dead_letters(
            subscription, event_types=types or None, error=error, dry_run=dry_run
        )
        if wait and job.id is not None:
            job = _finished(job, client.jobs.get)
    text = f"job {job.id} {job.status}: {job.done} of {job.total}" if job.id else f"{job.total} would be retried"
    show(job, json=json, text=text)


def replay(
    context: typer.Context,
    subscription: Subscription,
    after: Annotated[str, typer.Option("--from", help="Events received from this time on, in RFC 3339.")],
    before: Annotated[str | None, typer.Option("--to", help="And before this time; now when left out.")] = None,
    types: Types = [],  # noqa: B006 - typer's way; it is not changed
    only_undelivered: Annotated[bool, typer.Option("--only-undelivered", help="Only what never arrived.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is over.")] = False,
    json: Json = False,
) -> None:
    """Deliver old events to a subscription once more.

    Example: evp replay SUBSCRIPTION --from 2026-11-23T00:00:00Z --types 'invoice.*' --dry-run
    """
    with client_of(context) as client:
        made = client.replays.create(
            subscription,
            received_after=after,
            received_before=before or datetime.now(timezone.utc),
            event_types=types or None,
            only_undelivered=only_undelivered,
            dry_run=dry_run,
        )
        if wait and made.id is not None:
            made = _finished(made, client.replays.get)
    text = f"replay {made.id} {made.status}: {made.created} of {made.total}" if made.id else f"{made.total} events"
    show(made, json=json, text=text)


def _finished(job: T, get: Callable[[str], T]) -> T:
    while job.status == "running" and job.id is not None:
        time.sleep(_PAUSE_SECONDS)
        job = get(job.id)
    return job
