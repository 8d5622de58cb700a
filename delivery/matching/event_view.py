"""What filters see of an event, and the paths to it. Pure: no database, no Django models."""

import operator
import re
from collections.abc import Callable
from typing import Any, Final

from msgspec import structs

from core.decoding import parse
from core.problems import invalid
from ingestion.fields import MAX_REFERENCE, MatchedFields

MAX_SEGMENTS = 10
MAX_PATH_LENGTH = 255
# Of a value: any source and any subject can be compared with.
MAX_LENGTH = MAX_REFERENCE

MISSING: Final = object()
ATTRIBUTES = MatchedFields.__struct_fields__
_SEGMENT = re.compile(r'\.(?:([^."*]+)|"((?:[^"\\]|\\["\\])*)")')
_INDEX = re.compile(r"0|[1-9][0-9]*")


class EventView(MatchedFields, frozen=True, eq=False):
    """What filters see of an event; `data_text` is JSON, and parsed when the first filter asks for it."""

    data_text: str | bytes
    _data: Any = MISSING

    @property
    def data(self) -> Any:
        """The parsed data; ValueError for what is no JSON, which the intake does not let in."""
        if self._data is MISSING:
            structs.force_setattr(self, "_data", parse(self.data_text))
        return self._data


def compile_path(pointer: str, path: str) -> Callable[[EventView], Any]:
    """A function that reads the value at `path`, or MISSING."""
    if path in ATTRIBUTES:
        get = operator.attrgetter(path)
        return lambda event: MISSING if (value := get(event)) is None else value
    if not re.match(r"data(?:\.|\Z)", path):
        raise invalid(pointer, "unknown_field", f"Filters look at {', '.join(ATTRIBUTES)}, data and data.<name>.")
    steps = _steps(pointer, bounded_text(pointer, path, most=MAX_PATH_LENGTH))

    def read(event: EventView) -> Any:
        value = event.data
        for name, index in steps:
            kind = value.__class__
            if kind is dict:
                value = value.get(name, MISSING)
            elif kind is list and -1 < index < len(value):
                value = value[index]
            else:
                return MISSING
        return value

    return read


def _steps(pointer: str, path: str) -> tuple[tuple[str, int], ...]:
    """`data.lines.0` → (("lines", -1), ("0", 0)): each name, and the index that it is, or -1."""
    steps: list[tuple[str, int]] = []
    position = len("data")
    while position < len(path):
        found = _SEGMENT.match(path, position)
        if found is None:
            detail = "Names are separated by dots; one with a dot, quote or star is quoted, and there is no wildcard."
            raise invalid(pointer, "invalid_path", detail)
        name, quoted = found.groups()
        if quoted is not None:
            steps.append((re.sub(r"\\(.)", r"\1", quoted), -1))
        else:
            steps.append((name, int(name) if _INDEX.fullmatch(name) else -1))
        position = found.end()
    if len(steps) >= MAX_SEGMENTS:
        raise invalid(pointer, "too_deep", f"A path has at most {MAX_SEGMENTS} segments.")
    return tuple(steps)


def bounded_text(pointer: str, value: str, *, most: int = MAX_LENGTH) -> str:
    """The text; 422 for one that is too long or that PostgreSQL cannot hold."""
    if len(value) > most:
        raise invalid(pointer, "too_long", f"This takes at most {most} characters.")
    if "\x00" in value:
        raise invalid(pointer, "nul_character", "NUL characters cannot be stored.")
    return value
