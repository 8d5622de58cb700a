"""What `evp` prints: for people in colours, with `--json` for programs; and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

REFUSED, USAGE, NOT_REACHABLE = 1, 2, 3

# Where nobody looks, lines are not broken.
out = Console(width=None if sys.stdout.isatty() else 240, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON: one object, or one a line for a list.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")]
Columns = Sequence[tuple[str, Callable[[Any], object]]]


def show(shown: object, *, json: bool, text: str) -> None:
    """One object as JSON, or `text` about it (rich's markup)."""
    if json:
        print_json(shown)
    else:
        out.print(text)


def show_list(items: Iterable[Any], columns: Columns, *, json: bool, empty: str) -> None:
    """A table of the items, or one JSON object a line; `empty` says that there are none."""
    if json:
        for item in items:
            print_json(item)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, _ in columns:
        table.add_column(name, overflow="fold")
    for item in items:
        table.add_row(*(escape(written(value(item))) for _, value in columns))
    out.print(table if table.row_count else f"[dim]{empty}[/]")


def print_json(shown: object) -> None:
    """One line of JSON on standard output, at once."""
    sys.stdout.write(msgspec.json.encode(shown).decode() + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line for people that is no part of the output."""
    err.print(text)


def written(value: object) -> str:
    """A value in a cell."""
    if value is None:
        return "–"
    if isinstance(value, msgspec.Raw):
        text = bytes(value).decode()
        return text if len(text) <= 80 else text[:79] + "…"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:%Y-%m-%d %H:%M:%S}" if hasattr(value, "hour") else str(value)
