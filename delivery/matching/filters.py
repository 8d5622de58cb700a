"""Filters of subscriptions: which of the events of the wanted types. Pure: no database, no Django models.

    {"data.amount": {"gte": 1000, "lt": 5000}, "data.currency": "EUR", "any": [{"source": "/a"}, {"source": "/b"}]}

A filter is an object of paths with conditions and of the combinators `any` and `all`, which hold lists of filters. All
members of an object must match, and so must all operators of a path. A bare value is short for `{"eq": value}`.

Paths are `type`, `source`, `subject`, `data` and the way into it, as in `data.lines.0.sku`. A number is an index of an
array, or the name of an object's member. A name with a dot, quote or star is quoted, as in `data."a.b"`, where `\\"`
and `\\\\` stand for quote and backslash; a quoted number is never an index. There is no wildcard: a look at every
element would make the cost of a filter depend on the size of the data.

Operators:
- `eq`, `ne`, `in` compare with strings, numbers, booleans and null. A boolean is no number. 1 and 1.0 are equal.
  `ne` is exactly not `eq`, so it also matches a path that is missing: nobody loses events for an optional member.
- `gt`, `gte`, `lt`, `lte` compare numbers with numbers, and strings with strings by code point, which puts times in one
  format and zone in order. Integers compare exactly, whatever their size; other numbers are doubles.
- `prefix` is the start of a string.
- `exists` tells whether there is a value. In `data`, null is one. An event without source or subject misses that.
A missing path or a value of another type is no match, except for `ne` and `"exists": false`. It is never an error.
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from core.field_errors import pointer_to
from core.problems import invalid
from delivery.matching.event_view import ATTRIBUTES, MISSING, EventView, bounded_text, compile_path
from ingestion.fields import FIELDS

MAX_DEPTH = 5
# One takes 0.3 µs, so 1 000 filters of this size, none of which demands a value, take 16 ms of an event's fan-out.
MAX_CONDITIONS = 50
MAX_VALUES = 100
_TEXTS = frozenset(field.name for field in FIELDS if field.sql_type == "text")
_HASHED = frozenset({str, int, float, type(None)})
# From here on every double is a whole number.
_EXACT = 2**53
_NOT_FINITE = (math.inf, -math.inf)

Test = Callable[[Any], bool]
Predicate = Callable[[EventView], bool]


class Demand(NamedTuple):
    """What an event must have at `path` for a filter to match: one of `keys`, each made by key_of()."""

    path: str
    read: Callable[[EventView], Any]
    keys: frozenset[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """A filter that is ready for use. By its `demand`, if it makes one, the filters of a tenant can be indexed.

    Without `needs_data` it never looks into the event's data.
    """

    matches: Predicate
    demand: Demand | None
    needs_data: bool


def compile_filter(value: Any) -> Filter:
    """The filter in `value`, decoded JSON. Raises Problem 422, whose pointer starts with `/filter`."""
    whole = _Compiler().filter("/filter", value, depth=1)
    return Filter(matches=whole.matches, demand=whole.demand, needs_data=whole.needs_data)


def key_of(value: Any) -> Any:
    """A key of dictionaries, the same for equal values only: True == 1 in Python. MISSING for what is no scalar."""
    kind = value.__class__
    if kind is bool:
        return (value,)
    # Python hashes a number by its remainder, so a thousand that are multiples of 2**61 - 1 would make each look-up
    # among them a thousand comparisons; the hash of a text cannot be foreseen.
    if (kind is int or kind is float) and not -_EXACT < value < _EXACT and value not in _NOT_FINITE:
        return (f"{int(value):x}",)
    return value if kind in _HASHED else MISSING


class _Part(NamedTuple):
    needs_data: bool
    matches: Predicate
    demand: Demand | None = None


class _Compiler:
    """Counts the conditions of one filter."""

    def __init__(self) -> None:
        self._conditions = 0

    def filter(self, pointer: str, value: Any, *, depth: int) -> _Part:
        if depth > MAX_DEPTH:
            raise invalid(pointer, "too_deep", f"Filters nest at most {MAX_DEPTH} levels deep.")
        if not isinstance(value, dict):
            raise invalid(pointer, "invalid", "A filter is an object, of paths and their conditions.")
        if not value:
            raise invalid(pointer, "empty", "A filter needs a condition. Leave the filter out to take every event.")
        return _every([self._member(pointer, name, member, depth) for name, member in value.items()])

    def _member(self, pointer: str, name: str, value: Any, depth: int) -> _Part:
        pointer += pointer_to(name)
        if name not in ("any", "all"):
            return self._path(pointer, name, value)
        if not isinstance(value, list) or not value:
            raise invalid(pointer, "invalid", f"{name} takes a list of filters, at least one.")
        parts = [self.filter(f"{pointer}/{index}", item, depth=depth + 1) for index, item in enumerate(value)]
        return _some(parts) if name == "any" else _every(parts)

    def _path(self, pointer: str, path: str, value: Any) -> _Part:
        """The conditions on one path."""
        read = compile_path(pointer, path)
        is_attribute = path in ATTRIBUTES
        operators = value if isinstance(value, dict) else {"eq": value}
        if not operators:
            raise invalid(pointer, "empty", f"Give a value or one of {', '.join(_OPERATORS)}.")
        tests = []
        for name, operand in operators.items():
            place = pointer + pointer_to(name) if operators is value else pointer
            tests.append(self._condition(place, name, operand, text_only=path in _TEXTS))
        return _Part(not is_attribute, _on_value(read, tests), _demand(path, read, operators))

    def _condition(self, pointer: str, name: str, operand: Any, *, text_only: bool) -> Test:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise invalid(pointer, "too_many", f"A filter has at most {MAX_CONDITIONS} conditions.")
        make = _OPERATORS.get(name)
        if make is None:
            raise invalid(pointer, "unknown_operator", f"The operators are {', '.join(_OPERATORS)}.")
        test = make(pointer, operand)
        operands = operand if isinstance(operand, list) else [operand]
        if text_only and name != "exists" and not all(isinstance(value, str) for value in operands):
            raise invalid(pointer, "type_mismatch", "This is text. Ask for an absent one by `exists`.")
        return test


def _demand(path: str, read: Callable[[EventView], Any], operators: dict[str, Any]) -> Demand | None:
    values = [operators["eq"]] if "eq" in operators else operators.get("in")
    return Demand(path, read, frozenset(map(key_of, values))) if values else None


def _every(parts: list[_Part]) -> _Part:
    parts = _cheapest_first(parts)
    if len(parts) == 1:
        return parts[0]
    tests = tuple(part.matches for part in parts)
    demand = next((part.demand for part in parts if part.demand), None)

    def every(event: EventView) -> bool:
        for test in tests:  # noqa: SIM110 - a generator for all() takes twice as long
            if not test(event):
                return False
        return True

    return _Part(parts[-1].needs_data, every, demand)


def _some(parts: list[_Part]) -> _Part:
    parts = _cheapest_first(parts)
    if len(parts) == 1:
        return parts[0]
    tests = tuple(part.matches for part in parts)

    def some(event: EventView) -> bool:
        for test in tests:  # noqa: SIM110 - likewise
            if test(event):
                return True
        return False

    return _Part(parts[-1].needs_data, some)


def _cheapest_first(parts: list[_Part]) -> list[_Part]:
    """What may decide without parsing the data goes first."""
    return sorted(parts, key=operator.attrgetter("needs_data"))


def _on_value(read: Callable[[EventView], Any], tests: list[Test]) -> Predicate:
    first = tests[0]
    if len(tests) == 1:
        return lambda event: first(read(event))

    def every(event: EventView) -> bool:
        value = read(event)
        for test in tests:  # noqa: SIM110 - likewise
            if not test(value):
                return False
        return True

    return every


def _equal(pointer: str, operand: Any) -> Test:
    expected = _scalar(pointer, operand)
    if expected is None or isinstance(expected, bool):
        return lambda value: value is expected
    if isinstance(expected, str):
        return lambda value: bool(value == expected)
    return lambda value: value == expected and value.__class__ is not bool


def _not_equal(pointer: str, operand: Any) -> Test:
    equal = _equal(pointer, operand)
    return lambda value: not equal(value)


def _one_of(pointer: str, operand: Any) -> Test:
    if not isinstance(operand, list) or not operand:
        raise invalid(pointer, "invalid", "in takes a list of values, at least one.")
    if len(operand) > MAX_VALUES:
        raise invalid(pointer, "too_many", f"in takes at most {MAX_VALUES} values.")
    keys = frozenset(key_of(_scalar(f"{pointer}/{index}", value)) for index, value in enumerate(operand))
    return lambda value: key_of(value) in keys


def _comparison(compare: Callable[[Any, Any], bool]) -> Callable[[str, Any], Test]:
    def make(pointer: str, operand: Any) -> Test:
        limit = _scalar(pointer, operand)
        if isinstance(limit, str):
            return lambda value: value.__class__ is str and compare(value, limit)
        if limit is None or isinstance(limit, bool):
            raise invalid(pointer, "invalid", "This compares with a number or a string.")
        return lambda value: (value.__class__ is int or value.__class__ is float) and compare(value, limit)

    return make


def _prefix(pointer: str, operand: Any) -> Test:
    if not isinstance(operand, str):
        raise invalid(pointer, "invalid", "prefix takes a string.")
    start = bounded_text(pointer, operand)
    return lambda value: value.__class__ is str and value.startswith(start)


def _exists(pointer: str, operand: Any) -> Test:
    if not isinstance(operand, bool):
        raise invalid(pointer, "invalid", "exists takes true or false.")
    return (lambda value: value is not MISSING) if operand else (lambda value: value is MISSING)


_OPERATORS: dict[str, Callable[[str, Any], Test]] = {
    "eq": _equal,
    "ne": _not_equal,
    "in": _one_of,
    "gt": _comparison(operator.gt),
    "gte": _comparison(operator.ge),
    "lt": _comparison(operator.lt),
    "lte": _comparison(operator.le),
    "exists": _exists,
    "prefix": _prefix,
}


def _scalar(pointer: str, value: Any) -> str | int | float | bool | None:
    if isinstance(value, str):
        return bounded_text(pointer, value)
    if isinstance(value, float) and not math.isfinite(value):
        raise invalid(pointer, "number_out_of_range", "This number is too large.")
    if value is None or isinstance(value, int | float):
        return value
    raise invalid(pointer, "invalid", "Values are strings, numbers, booleans and null; `in` takes a list of them.")
