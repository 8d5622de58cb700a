"""`evp types`: event types, and their schemas from files."""

from __future__ import annotations

import difflib
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape

from events_client.cli.output import REFUSED, Columns, Json, Limit, note, out, print_json, show_list
from events_client.cli.profiles import client_of
from events_client.client import Client
from events_client.errors import ConfigurationError
from events_client.shapes import EventType

app = typer.Typer(no_args_is_help=True, help="Event types and their schemas.")

_COLUMNS: Columns = (
    ("name", lambda each: each.name),
    ("events", lambda each: each.count),
    ("validation", lambda each: each.validation),
    ("schema", lambda each: "yes" if each.schema is not None else "no"),
    ("last seen (UTC)", lambda each: each.last_seen_at),
)


@app.command(name="list")
def list_types(context: typer.Context, limit: Limit = 100, json: Json = False) -> None:
    """Show the event types."""
    with client_of(context) as client:
        show_list(islice(client.event_types.list(), limit), _COLUMNS, json=json, empty="There are none.")


@app.command()
def push(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Of JSON Schemas: invoice.paid.json.")],
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit status 1 when one differs.")] = False,
    validation: Annotated[
        str | None, typer.Option(help="off, warn or reject; when left out, new types get warn and others keep theirs.")
    ] = None,
    json: Json = False,
) -> None:
    """Make the schemas of the platform those of the files, and show what differs. Types without a file stay.

    Example for CI: evp types push schemas/ --check
    """
    wanted = read_schemas(folder)
    differs = 0
    with client_of(context) as client:
        known = {each.name: each for each in client.event_types.list(page_size=1000)}
        for name, schema in wanted.items():
            outcome = _outcome(known.get(name), schema, validation)
            differs += outcome != "same"
            if not json:
                _tell(name, outcome, known.get(name), schema)
            if not check and outcome != "same":
                _put(client, name, schema, validation, new=outcome == "new")
            if json:
                print_json({"name": name, "outcome": outcome})
    if check and differs:
        note(f"evp: out_of_date: {differs} of {len(wanted)} schemas differ; `evp types push {folder}` sets them")
        raise typer.Exit(REFUSED)


def read_schemas(folder: Path) -> dict[str, Any]:
    """Type → schema, by the files' paths below the folder without `.json` or `.schema.json`."""
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is no folder")
    found = {}
    for file in sorted(folder.rglob("*.json")):
        name = file.relative_to(folder).as_posix().removesuffix(".json").removesuffix(".schema")
        try:
            found[name] = msgspec.json.decode(file.read_bytes())
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{file} is not JSON: {error}") from error
    if not found:
        raise ConfigurationError(f"{folder} has no files that end with .json")
    return found


def _outcome(known: EventType | None, schema: Any, validation: str | None) -> str:
    if known is None:
        return "new"
    same = known.schema == schema and (validation or known.validation) == known.validation
    return "same" if same else "changed"


def _put(client: Client, name: str, schema: Any, validation: str | None, *, new: bool) -> None:
    if new:
        client.event_types.create(name, schema=schema, validation=validation or "warn")
    elif validation:
        client.event_types.update(name, schema=schema, validation=validation)
    else:
        client.event_types.update(name, schema=schema)


def _tell(name: str, outcome: str, known: EventType | None, schema: Any) -> None:
    out.print(f"[bold]{escape(name)}[/]: {outcome}")
    if outcome == "changed" and known is not None:
        lines = difflib.unified_diff(_pretty(known.schema), _pretty(schema), "platform", "file", lineterm="")
        for line in lines:
            colour = {"+": "green", "-": "red"}.get(line[:1], "dim")
            out.print(f"  [{colour}]{escape(line)}[/]")


def _pretty(schema: Any) -> list[str]:
    return msgspec.json.format(msgspec.json.encode(schema, order="sorted")).decode().splitlines()
