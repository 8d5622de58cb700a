"""Where in an event it was found: the name of the place, and the text around the match."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from console.search.wanted import Wanted
from ingestion.data_paths import steps_of, typed_and_text
from ingestion.models import Event

# Values of one event that are looked at; far more than people read.
_MAX_VALUES = 20_000
_AROUND = 60


@dataclass(frozen=True, kw_only=True)
class Place:
    """`before`, `match` and `after` are the text, cut where it is long."""

    name: str
    before: str
    match: str
    after: str


class _Number(str):
    """A number as it was spelled."""

    __slots__ = ()


def place_of(event: Event, wanted: Wanted, *, with_data: bool) -> Place | None:
    """The first place that matches; None when it is deeper than anybody looks."""
    if not wanted.path:
        for name in ("subject", "source", "idempotency_key", "request_id"):
            if (text := getattr(event, name)) and wanted.text in text:
                return _place(name.replace("_", " "), text, wanted.text)
    return _place_in_data(event.data, wanted) if with_data else None


def _place_in_data(text: str, wanted: Wanted) -> Place | None:
    value = json.loads(text, parse_int=_Number, parse_float=_Number)
    steps = steps_of(wanted.path)
    for path, leaf in islice(_leaves(value, ()), _MAX_VALUES):
        if wanted.path:
            match = _text(leaf) if _is_at(path, steps) and _is_equal(leaf, wanted.value) else None
        else:
            match = _match_in(leaf, wanted.text)
        if match is not None:
            return _place(_name(path), _text(leaf), match)
    return None


def _match_in(leaf: Any, text: str) -> str | None:
    """A number is equal or not; a string may hold it."""
    if isinstance(leaf, _Number):
        return leaf if _is_number(leaf, text) else None
    return text if isinstance(leaf, str) and text in leaf else None


def _place(name: str, text: str, match: str) -> Place:
    start = text.index(match)
    end = start + len(match)
    before, after = text[:start], text[end:]
    return Place(
        name=name,
        before=before if len(before) <= _AROUND else "…" + before[-_AROUND:],
        match=match if len(match) <= 2 * _AROUND else match[: 2 * _AROUND] + "…",
        after=after if len(after) <= _AROUND else after[:_AROUND] + "…",
    )


def _leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    else:
        yield path, value


def _is_at(path: tuple[str | int, ...], steps: list[str]) -> bool:
    return len(path) == len(steps) and all(
        step == "*" if isinstance(part, int) and step == "*" else str(part) == step
        for part, step in zip(path, steps, strict=True)
    )


def _is_equal(leaf: Any, typed: str) -> bool:
    if isinstance(leaf, _Number):
        return _is_number(leaf, typed)
    as_json, as_text = typed_and_text(typed)
    return json.dumps(leaf) in {as_json, as_text} or leaf == typed


def _is_number(leaf: str, typed: str) -> bool:
    try:
        return leaf == typed or float(leaf) == float(typed)
    except ValueError:
        return False


def _text(leaf: Any) -> str:
    return leaf if isinstance(leaf, str) else json.dumps(leaf)


def _name(path: tuple[str | int, ...]) -> str:
    """`lines[0].sku`, as it can be searched for; `data` for the whole."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".") or "data"
