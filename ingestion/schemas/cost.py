"""How much work a JSON Schema can make of an event, at worst, known before any event is checked. Pure.

Validation runs where every tenant's events come in and cannot be interrupted, and 2 KB of schema suffice for minutes
of work: `{"allOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/b"}]}`, 22 such definitions long, took 154 s for one
number. So the schema's graph is walked once. For each depth of the data it gives a bound of the work at one value
(steps, about 10 ns each) and of the work for one character (states of patterns, about 4 ns each).
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

import msgspec

from ingestion.formats.json_depth import MAX_DEPTH
from ingestion.schemas.parts import LISTS, SINGLES, Parts, SchemaError

# Subschemas that apply to one value, one inside the other. The validator recurses: 64 of them, at each of the 64
# levels that data may have, ended a thread with a stack of 512 KiB (macOS); 32 did not.
MAX_CHAIN = 32
# Bounds the walk of a schema of 64 KiB to half a second and a few megabytes.
MAX_EDGES = 20_000

_MAPS = ("dependentSchemas", "dependencies")
# Their values are compared with the data and quoted in messages, so they count by their size. To find one among
# texts and integers is quick (4 000 strings: 20 ns); arrays, objects and fractions are compared one by one, and deep.
_COMPARED = {"const", "enum", "required", "dependentRequired", "pattern"}
_NUMBERS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
_COMPARE = 40
# To check a format takes as long for each character as so many states: measured, 93 ns for `idn-hostname`, the slowest.
_FORMAT_STATES = 25
_UNCHECKED = {"$comment", "$defs", "$id", "$schema", "default", "definitions", "description", "examples", "title"}
# Linear, also in what is no pattern: a class that is not closed goes to the end, and each digit has one place.
_TOKENS = re.compile(r"\\.|\[\^?(?:\\.|[^\]\\])*(?:\]|\\?\Z)|\{\d*(?:,\d*)?\}|.", re.DOTALL)

Node = int  # the id() of a subschema
Weights = Counter[Node]


@dataclass(frozen=True, kw_only=True)
class SchemaCost:
    """Bounds by depth of the data, of which the last holds for all that is deeper; and how many patterns there are.

    `pattern_states` are those of all patterns, each as often as it is written.
    """

    steps: tuple[int, ...]
    states: tuple[int, ...]
    patterns: int
    pattern_states: int

    def of(self, data: str, value: Any, *, enough: int = 0) -> int:
        """The steps to check `data`, JSON text, which is `value`, at most; less exact when they are within `enough`."""
        values = 1 + data.count(",") + data.count("[") + data.count("{")
        if len(self.steps) == 1 or self._total(values, len(data), MAX_DEPTH) <= enough:
            return self._total(values, len(data), MAX_DEPTH)
        return self._total(values, len(data), _depth(value))

    def _total(self, values: int, characters: int, depth: int) -> int:
        steps = self.steps[min(depth, len(self.steps) - 1)]
        states = self.states[min(depth, len(self.states) - 1)]
        return steps * values + states * characters // 2


def estimate_cost(schema: Any, *, is_schema: Callable[[Any], bool], asserts_format: bool = False) -> SchemaCost:
    """The bound for a schema that is valid by the meta-schema, which `is_schema` tells. Raises SchemaError.

    References are followed here, and only those within the schema: whatever else it names is an error.
    """
    graph = _Graph(schema, is_schema)
    return SchemaCost(
        steps=graph.bounds(_steps),
        states=graph.bounds(_states_with_formats if asserts_format else _pattern_states),
        patterns=graph.patterns,
        pattern_states=graph.pattern_states,
    )


@dataclass(frozen=True, kw_only=True)
class _Place:
    """What applies to one value: the schemas, how often each, and which of them go on to its members or items."""

    here: Weights
    branches: tuple[Weights, ...]


class _Graph:
    """The subschemas that an event can reach, by place."""

    def __init__(self, schema: Any, is_schema: Callable[[Any], bool]) -> None:
        self._parts = Parts(schema, is_schema)
        self._schemas: dict[Node, Any] = {}
        self._closures: dict[Node, Weights] = {}
        self._chains: dict[Node, int] = {}
        self._edges = 0
        self._root = self._note(schema)
        self._places: dict[Node, _Place] = {}
        self._walk()
        # Those of parts that nothing refers to are compiled, too.
        self.patterns = sum(len(_patterns(part)) for part in self._parts.schemas)
        self.pattern_states = sum(map(_pattern_states, self._parts.schemas))

    def bounds(self, own: Callable[[Any], int]) -> tuple[int, ...]:
        """For each depth up to MAX_DEPTH, a bound of `own` work at one value of that depth or less deep."""
        work = cache(lambda node: own(self._schemas[node]))
        costs = {
            node: sum(times * work(applied) for applied, times in place.here.items())
            for node, place in self._places.items()
        }
        found = [costs[self._root]]
        for _ in range(MAX_DEPTH):
            costs = {node: _most(place.branches, costs) for node, place in self._places.items()}
            if not any(costs.values()):
                break
            found.append(costs[self._root])
        return tuple(accumulate(found, max))

    def _walk(self) -> None:
        waiting = [self._root]
        while waiting:
            node = waiting.pop()
            if node in self._places:
                continue
            here = self._closure(node, ())
            schemas = [(self._schemas[applied], times) for applied, times in here.items()]
            branches = (
                *self._branches(schemas, "properties", "additionalProperties"),
                *self._branches(schemas, "prefixItems", "items"),
            )
            self._places[node] = _Place(here=here, branches=branches)
            waiting += [child for branch in branches for child in branch]

    def _closure(self, node: Node, above: tuple[Node, ...]) -> Weights:
        """The schema and all that apply to the same value with it."""
        if node in above:
            raise SchemaError("endless", "A $ref leads back to itself at the same value: it could never be resolved.")
        known = self._closures.get(node)
        if known is None:
            known = Counter({node: 1})
            chain = 1
            # Each unevaluated… applies the others once more to learn what they left over; measured, 2.3 times.
            times = 3 if any(name.startswith("unevaluated") for name in _members(self._schemas[node])) else 1
            for child in self._beside(self._schemas[node]):
                if len(above) >= MAX_CHAIN:
                    raise SchemaError("too_deep", _TOO_DEEP)
                for applied, count in self._closure(child, (*above, node)).items():
                    known[applied] += count * times
                chain = max(chain, 1 + self._chains[child])
            self._closures[node], self._chains[node] = known, chain
            self._count(len(known))
        if len(above) + self._chains[node] > MAX_CHAIN:
            raise SchemaError("too_deep", _TOO_DEEP)
        return known

    def _beside(self, schema: Any) -> Iterator[Node]:
        members = _members(schema)
        for name in LISTS:
            yield from map(self._note, members.get(name, ()))
        for name in SINGLES:
            if name in members:
                yield self._note(members[name])
        for name in _MAPS:
            yield from (self._note(value) for value in members.get(name, {}).values() if isinstance(value, dict))
        yield from map(self._note, self._parts.referred(members))

    def _branches(self, schemas: list[tuple[Any, int]], named: str, rest: str) -> list[Weights]:
        """Per name (or index) that a schema tells apart, what applies to that member; first, to any other one."""
        common: Weights = Counter()
        by_name: dict[str, Weights] = {}
        for schema, times in schemas:
            members = _members(schema)
            for child in self._for_all(members, named):
                common[child] += times
            other = self._note(members[rest]) if rest in members else None
            if other is not None:
                common[other] += times
            for name, value in _items(members.get(named, {})):
                branch = by_name.setdefault(name, Counter())
                branch[self._note(value)] += times
                if other is not None:
                    branch[other] -= times
        self._count(len(common) * (len(by_name) + 1) + sum(map(len, by_name.values())))
        merged = [common]
        for branch in by_name.values():
            branch.update(common)
            merged.append(branch)
        return merged

    def _for_all(self, members: Mapping[str, Any], named: str) -> Iterator[Node]:
        """What applies to members or items whatever their name or index."""
        if named == "properties":
            yield from map(self._note, members.get("patternProperties", {}).values())
            names = ("unevaluatedProperties", "propertyNames")
        else:
            names = ("unevaluatedItems", "contains")
        yield from (self._note(members[name]) for name in names if name in members)

    def _note(self, schema: Any) -> Node:
        self._schemas[id(schema)] = schema
        return id(schema)

    def _count(self, edges: int) -> None:
        self._edges += edges
        if self._edges > MAX_EDGES:
            raise SchemaError("too_complex", "The parts of the schema refer to each other in too many ways.")


_TOO_DEEP = f"More than {MAX_CHAIN} parts of the schema apply to one value, one inside the other."


def _most(branches: Iterable[Weights], costs: Mapping[Node, int]) -> int:
    return max((sum(costs[child] * times for child, times in branch.items()) for branch in branches), default=0)


def _members(schema: Any) -> dict[str, Any]:
    return schema if isinstance(schema, dict) else {}


def _items(named: Any) -> Iterable[tuple[str, Any]]:
    return named.items() if isinstance(named, dict) else [(str(index), value) for index, value in enumerate(named)]


def _steps(schema: Any) -> int:
    """Work of the schema itself: looking at each keyword and its parts, comparing values, writing a message."""
    total = 1
    for name, value in _members(schema).items():
        if name in _COMPARED:
            total += 1 + len(msgspec.json.encode(value)) // 16
            if name == "const":
                total += _comparison(value)
            elif name == "enum":
                total += sum(_comparison(option) for option in value if not isinstance(option, str | int))
        elif name in _NUMBERS:
            total += _comparison(value) * (1 if name != "multipleOf" else 8)
        elif name not in _UNCHECKED:
            total += len(value) if isinstance(value, dict | list) else 1
    return total


def _comparison(value: Any) -> int:
    """Steps to compare with this, deep. Measured: 0.4 µs for each array, object and integer, 3 µs for a fraction.

    Numbers that are no 64-bit integers are compared as fractions of integers without a bound, so their digits count.
    """
    if isinstance(value, dict):
        return _COMPARE + sum(_COMPARE // 4 + len(name) // 16 + _comparison(member) for name, member in value.items())
    if isinstance(value, list):
        return _COMPARE + sum(map(_comparison, value))
    if isinstance(value, str):
        return _COMPARE // 8 + len(value) // 16
    if isinstance(value, float):
        return 8 * _COMPARE + 6 * abs(math.frexp(value)[1])
    return 8 * _COMPARE + 6 * value.bit_length() if isinstance(value, int) and value.bit_length() > 63 else _COMPARE


def _pattern_states(schema: Any) -> int:
    """States of the automata of the schema's patterns: a search visits each, at worst, at each character."""
    return sum(map(states_of_pattern, _patterns(_members(schema))))


def _states_with_formats(schema: Any) -> int:
    return _pattern_states(schema) + _FORMAT_STATES * ("format" in _members(schema))


def _patterns(members: Mapping[str, Any]) -> list[str]:
    named = members.get("patternProperties")
    found = [*(named if isinstance(named, dict) else ()), members.get("pattern")]
    return [pattern for pattern in found if isinstance(pattern, str)]


def states_of_pattern(pattern: str) -> int:
    """Characters of the pattern with its counted repetitions written out: `(ab{3}){2}` has 8."""
    groups, last = [0], 0
    for token in _TOKENS.finditer(pattern):
        text = token[0]
        if text == "(":
            groups.append(0)
        elif text == ")" and len(groups) > 1:
            last = groups.pop()
            groups[-1] += last
        elif text[0] == "{" and len(text) > 1:
            bound = max(int(number[:9]) for number in re.findall(r"\d+", text) or ["1"])
            groups[-1] += last * max(bound - 1, 0)
            last *= max(bound, 1)
        elif text not in "*+?|^$":
            last = 1
            groups[-1] += 1
    return 1 + sum(groups)


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
