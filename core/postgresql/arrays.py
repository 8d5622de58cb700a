"""PostgreSQL's literals of arrays, written by hand: psycopg's dumper of lists takes ten times as long."""

from collections.abc import Iterable
from uuid import UUID


def array(items: Iterable[str]) -> str:
    """Of items that need no quotes, such as numbers; `NULL` is SQL's."""
    return "{" + ",".join(items) + "}"


def uuid_array(values: Iterable[UUID]) -> str:
    return array(value.hex for value in values)


def text_array(values: Iterable[str | None]) -> str:
    return array("NULL" if value is None else _quoted(value) for value in values)


def bytes_array(values: Iterable[bytes | None]) -> str:
    return array("NULL" if value is None else f'"\\\\x{value.hex()}"' for value in values)


def _quoted(value: str) -> str:
    if "\\" in value:
        value = value.replace("\\", "\\\\")
    return '"' + value.replace('"', '\\"') + '"'
