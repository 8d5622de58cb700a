"""`evp login`, `evp verify`, `evp doctor`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.markup import escape

from events_client.answers import unreachable
from events_client.cli.output import REFUSED, Json, print_json, show
from events_client.cli.output import out as console
from events_client.cli.profiles import DEFAULT, client_of, save_profile
from events_client.client import Client
from events_client.errors import ConfigurationError, EventsClientError, NotReachableError
from events_client.version import VERSION
from events_client.webhooks import TOLERANCE_SECONDS, verify_webhook


def login(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(help="Address of the platform; asked for when missing.")] = None,
    key_from_stdin: Annotated[
        bool, typer.Option("--key-from-stdin", help="Read the API key from standard input instead of asking.")
    ] = False,
    json: Json = False,
) -> None:
    """Check an API key and keep it, in the system's keyring or in a file that only you can read.

    Example: evp login --url http://127.0.0.1:8000
    """
    address = url or os.environ.get("EVP_URL") or typer.prompt("Address of the platform")
    # Never an argument: other users of the machine see those.
    key = sys.stdin.readline() if key_from_stdin else typer.prompt("API key", hide_input=True)
    name = context.find_root().params.get("profile") or DEFAULT
    with Client(address, key.strip(), retry_seconds=5) as client:
        organization = client.organization()
        place = save_profile(name, client.settings.base_url, client.settings.api_key)
    told = {"profile": name, "url": client.settings.base_url, "organization": organization.slug}
    show(
        told,
        json=json,
        text=f"Signed in to [bold]{escape(organization.name)}[/] as profile {name}; the key is in {place}.",
    )


def verify(
    body: Annotated[str, typer.Argument(help="The body as it came: @FILE, or - for standard input.")],
    header: Annotated[
        list[str], typer.Option("--header", "-H", help="A header of the request, as 'webhook-id: …'; three are needed.")
    ],
    secret: Annotated[str, typer.Option(envvar="EVP_WEBHOOK_SECRET", help="whsec_… of the subscription.")],
    tolerance: Annotated[float, typer.Option(help="How old it may be, in seconds.")] = TOLERANCE_SECONDS,
    json: Json = False,
) -> None:
    """Tell whether a webhook is genuine, and why not. Exit status 1 when it is not.

    Example: evp verify @body.json -H 'webhook-id: …' -H 'webhook-timestamp: …' -H 'webhook-signature: v1,…' --secret
    whsec_…
    """
    headers = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in header)}
    event = verify_webhook(read_bytes(body), headers, secret, tolerance_seconds=tolerance)
    show(event, json=json, text=f"genuine: {escape(str(event.get('type')))} {escape(str(event.get('id')))}")


@dataclass(frozen=True)
class Finding:
    """What a check found; `advice` only where something is wrong."""

    check: str
    well: bool
    found: str
    advice: str = ""


def doctor(context: typer.Context, json: Json = False) -> None:
    """Check address, key, clock and rights, and say what to do. Exit status 1 when something is wrong."""
    with client_of(context, retry_seconds=2) as client:
        findings = list(_examine(client))
    if json:
        print_json(findings)
    else:
        for each in findings:
            console.print(f"{'[green]ok[/]   ' if each.well else '[red]wrong[/]'} {each.check}: {escape(each.found)}")
            if each.advice:
                console.print(f"      {escape(each.advice)}")
    if not all(each.well for each in findings):
        raise typer.Exit(REFUSED)


def read_bytes(source: str) -> bytes:
    """The bytes of @FILE or of standard input (`-`); anything else stands for itself."""
    if source == "-":
        return sys.stdin.buffer.read()
    if not source.startswith("@"):
        return source.encode()
    try:
        return Path(source[1:]).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{source[1:]} cannot be read: {error.strerror}") from error


def _examine(client: Client) -> Iterator[Finding]:
    url = client.settings.base_url
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("client", well=True, found=f"events-platform-client {VERSION}, Python {python}")
    try:
        answer = client.http.get("/health/ready")
    except httpx.TransportError as error:
        raise unreachable(url, error) from error
    ready = answer.status_code == 200
    advice = "" if ready else "It answers, but cannot take events now: ask those who run it."
    yield Finding("platform", ready, f"{url} answers {answer.status_code}", advice)
    yield _clock(answer)
    yield _asked("API key", lambda: f"of {client.organization().name}", "Issue another key, then `evp login`.")
    asked: list[tuple[str, Callable[[], object]]] = [
        ("events:read", lambda: next(client.events.list(page_size=1), None)),
        ("subscriptions:manage", lambda: next(client.subscriptions.list(page_size=1), None)),
        ("inbox:consume", lambda: next(client.inbox().list(page_size=1), None)),
    ]
    for scope, ask in asked:
        yield _asked(f"scope {scope}", ask, f"`evp` needs {scope} for some commands.")


def _clock(answer: httpx.Response) -> Finding:
    told = answer.headers.get("date")
    if told is None:
        return Finding("clock", well=True, found="the platform does not tell the time")
    skew = time.time() - parsedate_to_datetime(told).timestamp()
    well = abs(skew) < 60
    advice = "" if well else "Set this machine's clock: webhooks are refused when it is 5 minutes off."
    return Finding("clock", well, f"{abs(skew):.0f} s from the platform's", advice)


def _asked(check: str, ask: Callable[[], object], advice: str) -> Finding:
    try:
        found = ask()
    except NotReachableError:
        raise
    except EventsClientError as error:
        return Finding(check, well=False, found=str(error), advice=advice)
    return Finding(check, well=True, found=found if isinstance(found, str) else "given")
