"""Which subscriptions want an event: patterns of types, filters, and the index over both. Pure."""

import json
import operator
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, reject
from hypothesis import strategies as st

from core.problems import Problem
from delivery.matching import event_view
from delivery.matching.event_view import EventView
from delivery.matching.filters import Filter, compile_filter
from delivery.matching.matching import Interest, Matcher, check_pattern, check_patterns

INVOICE: dict[str, Any] = {
    "amount": 1200,
    "rate": 1.0,
    "currency": "EUR",
    "paid": True,
    "free": False,
    "note": None,
    "text": "",
    "at": "2026-11-23T10:00:00Z",
    "lines": [{"sku": "A-1", "n": 1}, {"sku": "B-2", "n": 0}],
    "0": {"01": "names"},
    "a.b": {'"\\*': 5},
}


def event(
    data: Any = None, *, type_name: str = "invoice.paid", source: str | None = "/billing", subject: str | None = None
) -> EventView:
    return EventView(type=type_name, source=source, subject=subject, data_text=json.dumps(data))


def matches(wanted: Any, data: Any) -> bool:
    return compile_filter(wanted).matches(event(data))


def told(check: Callable[..., Any], *given: Any) -> tuple[str, str]:
    """Pointer and code of the first wrong field."""
    with pytest.raises(Problem) as caught:
        check(*given)
    assert caught.value.status_code == 422
    return caught.value.errors[0].pointer, caught.value.errors[0].code


# Filters


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": "invoice.paid"},
        {"type": {"prefix": "invoice."}, "source": {"in": ["/x", "/billing"]}},
        {"subject": {"exists": False}},
        {"source": {"exists": True}},
        {"subject": {"ne": "inv_1"}},
        {"data": {"exists": True}},
        {"data.amount": 1200},
        {"data.amount": 1200.0},
        {"data.rate": 1},
        {"data.rate": {"in": [0, 1]}},
        {"data.amount": {"gte": 1200, "lte": 1200.5, "gt": -1e300, "lt": 10**30}},
        {"data.currency": {"eq": "EUR", "ne": "USD", "gt": "EUA", "lt": "F", "prefix": "E"}},
        {"data.currency": {"prefix": ""}},
        {"data.text": {"prefix": ""}},
        {"data.text": ""},
        {"data.at": {"gte": "2026-11-23T00:00:00Z"}},
        {"data.paid": True},
        {"data.free": {"in": [None, False]}},
        {"data.note": None},
        {"data.note": {"exists": True}},
        {"data.note": {"in": ["x", None]}},
        {"data.missing": {"exists": False}},
        {"data.missing.deeper": {"exists": False}},
        {"data.missing": {"ne": 5}},
        {"data.missing": {"ne": None}},
        {"data.amount": {"ne": "1200"}},
        {"data.lines": {"exists": True}},
        {"data.lines": {"ne": "A-1"}},
        {"data.lines.1.sku": "B-2"},
        {"data.lines.2": {"exists": False}},
        {'data.lines."0"': {"exists": False}},
        {"data.lines.-1": {"exists": False}},
        {"data.lines.00": {"exists": False}},
        {"data.0.01": "names"},
        {'data."0"."01"': "names"},
        {'data."a.b"."\\"\\\\*"': 5},
        {"any": [{"data.amount": 1}, {"data.currency": "EUR"}]},
        {"all": [{"data.amount": 1200}, {"data.currency": "EUR"}], "data.paid": True},
        {"any": [{"all": [{"any": [{"all": [{"data.amount": 1200}]}]}]}]},
        {"data.amount": 1200, "data.currency": "EUR", "data.paid": True, "source": "/billing"},
    ],
    ids=json.dumps,
)
def test_filter_matches(wanted: Any) -> None:
    assert matches(wanted, INVOICE)


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": "invoice"},
        {"subject": {"exists": True}},
        {"subject": {"gte": ""}},
        {"data": "EUR"},
        {"data.amount": "1200"},
        {"data.amount": True},
        {"data.amount": {"gte": "1"}},
        {"data.amount": {"gte": 1000, "lt": 1200}},
        {"data.amount": {"prefix": "1"}},
        {"data.rate": True},
        {"data.rate": {"in": [True]}},
        {"data.paid": 1},
        {"data.paid": {"in": [1, "true"]}},
        {"data.paid": {"gte": 0}},
        {"data.free": {"lte": 0}},
        {"data.free": 0},
        {"data.note": {"exists": False}},
        {"data.note": False},
        {"data.note": {"ne": None}},
        {"data.note": {"lt": "z"}},
        {"data.missing": {"exists": True}},
        {"data.missing": None},
        {"data.missing": {"in": [None, 0, "", False]}},
        {"data.missing": {"prefix": ""}},
        {"data.missing": {"gte": 0}},
        {"data.currency": {"ne": "EUR"}},
        {"data.currency": "eur"},
        {"data.currency.0": "E"},
        {"data.lines": {"in": ["A-1"]}},
        {"data.lines.sku": "A-1"},
        {"data.lines": {"gte": 0}},
        {"data.a.b": {"exists": True}},
        {"any": [{"data.amount": 1}, {"data.currency": "USD"}]},
        {"data.amount": 1200, "all": [{"data.currency": "EUR"}, {"data.paid": False}]},
        {"data.amount": 1200, "data.currency": "EUR", "data.paid": False},
    ],
    ids=json.dumps,
)
def test_filter_does_not_match(wanted: Any) -> None:
    assert not matches(wanted, INVOICE)


@pytest.mark.parametrize(
    ("wanted", "data"),
    [({"data": 5}, 5), ({"data.1": "b"}, ["a", "b"]), ({"data": None}, None), ({'data.""': 1}, {"": 1})],
)
def test_data_of_any_kind(wanted: Any, data: Any) -> None:
    assert matches(wanted, data)


def test_large_numbers_compare_exactly_and_what_no_double_holds_is_infinite() -> None:
    assert matches({"data": 10**30 + 1}, 10**30 + 1)
    assert not matches({"data": 10**30}, 10**30 + 1)
    beyond = EventView(type="t", source=None, subject=None, data_text=b'{"a": 9e308, "b": 1}')
    assert compile_filter({"data.a": {"gt": 1e308}, "data.b": 1}).matches(beyond)


def nested(levels: int) -> Any:
    return {"data": 1} if levels == 1 else {"any": [nested(levels - 1)]}


@pytest.mark.parametrize(
    ("wanted", "pointer", "code"),
    [
        (None, "/filter", "invalid"),
        ([{"data": 1}], "/filter", "invalid"),
        ({}, "/filter", "empty"),
        ({"data.a": {}}, "/filter/data.a", "empty"),
        ({"any": []}, "/filter/any", "invalid"),
        ({"all": {"data": 1}}, "/filter/all", "invalid"),
        ({"any": [{"data": 1}, {}]}, "/filter/any/1", "empty"),
        ({"any": [{"data": 1}, {"all": [5]}]}, "/filter/any/1/all/0", "invalid"),
        ({"amount": 5}, "/filter/amount", "unknown_field"),
        ({"database": 5}, "/filter/database", "unknown_field"),
        ({"type.a": 5}, "/filter/type.a", "unknown_field"),
        ({"a/~": 5}, "/filter/a~1~0", "unknown_field"),
        ({"data.": 5}, "/filter/data.", "invalid_path"),
        ({"data..a": 5}, "/filter/data..a", "invalid_path"),
        ({"data.a.*.b": 5}, "/filter/data.a.*.b", "invalid_path"),
        ({'data."a': 5}, '/filter/data."a', "invalid_path"),
        ({'data."a"b': 5}, '/filter/data."a"b', "invalid_path"),
        ({'data."\\n"': 5}, '/filter/data."\\n"', "invalid_path"),
        ({"data.a\0": 5}, "/filter/data.a\0", "nul_character"),
        ({"data" + ".a" * 10: 5}, "/filter/data" + ".a" * 10, "too_deep"),
        ({"data.a": {"gte": 5, "near": 5}}, "/filter/data.a/near", "unknown_operator"),
        ({"data.a": {"b": 5}}, "/filter/data.a/b", "unknown_operator"),
        ({"data.a": [1, 2]}, "/filter/data.a", "invalid"),
        ({"data.a": {"eq": {"b": 1}}}, "/filter/data.a/eq", "invalid"),
        ({"data.a": {"in": 5}}, "/filter/data.a/in", "invalid"),
        ({"data.a": {"in": []}}, "/filter/data.a/in", "invalid"),
        ({"data.a": {"in": [1, [2]]}}, "/filter/data.a/in/1", "invalid"),
        ({"data.a": {"in": [*range(101)]}}, "/filter/data.a/in", "too_many"),
        ({"data.a": {"gt": None}}, "/filter/data.a/gt", "invalid"),
        ({"data.a": {"lte": True}}, "/filter/data.a/lte", "invalid"),
        ({"data.a": {"gt": float("nan")}}, "/filter/data.a/gt", "number_out_of_range"),
        ({"data.a": {"exists": 1}}, "/filter/data.a/exists", "invalid"),
        ({"data.a": {"prefix": 1}}, "/filter/data.a/prefix", "invalid"),
        ({"data.a": "x" * 1025}, "/filter/data.a", "too_long"),
        ({"data.a": {"prefix": "a\0"}}, "/filter/data.a/prefix", "nul_character"),
        ({"type": 5}, "/filter/type", "type_mismatch"),
        ({"subject": None}, "/filter/subject", "type_mismatch"),
        ({"source": {"in": ["/a", 5]}}, "/filter/source/in", "type_mismatch"),
        (nested(6), "/filter" + "/any/0" * 5, "too_deep"),
        ({f"data.{number}": 1 for number in range(51)}, "/filter/data.50", "too_many"),
        ({"any": [{"data.a": {"gt": 1, "lt": 5}}] * 26}, "/filter/any/25/data.a/gt", "too_many"),
    ],
    ids=repr,
)
def test_bad_filter_is_refused_by_its_pointer(wanted: Any, pointer: str, code: str) -> None:
    assert told(compile_filter, wanted) == (pointer, code)


def test_pointer_to_a_long_path_is_cut() -> None:
    assert told(compile_filter, {"data." + "x" * 251: 5}) == ("/filter/data." + "x" * 86 + "…", "too_long")


@pytest.mark.parametrize(
    "wanted",
    [
        nested(5),
        {"data" + ".a" * 9: 1},
        {"data." + "x" * 250: "y" * 1024},
        {"data": {"in": [*range(100)]}},
        {"any": [{"data.a": {"gt": 1, "lt": 5}}] * 25},
    ],
)
def test_filter_at_its_limits_is_taken(wanted: Any) -> None:
    assert not matches(wanted, None)


# Patterns


@pytest.mark.parametrize(
    ("pattern", "wanted", "unwanted"),
    [
        ("invoice.paid", ["invoice.paid"], ["invoice.paid.late", "invoice", "invoice.pai"]),
        ("invoice.*", ["invoice.paid", "invoice.a.b", "invoice."], ["invoice", "invoices.paid"]),
        ("inv*", ["invoice.paid", "inv"], ["in", "x.invoice"]),
        ("*", ["a", "invoice.paid"], []),
        ("a_b-c/d.E1", ["a_b-c/d.E1"], ["a_b-c/d.e1"]),
    ],
)
def test_pattern(pattern: str, wanted: list[str], unwanted: list[str]) -> None:
    matcher = Matcher([Interest("key", check_patterns([pattern]))])
    found = [name for name in wanted + unwanted if matcher.match(event(type_name=name))]
    assert found == wanted


@pytest.mark.parametrize(
    "pattern", ["", "**", "*.paid", "invoice.*.late", "in voice", "é", "a\n", "a*\n", "?", "x" * 256]
)
def test_bad_pattern_is_refused_by_its_index(pattern: str) -> None:
    assert told(check_patterns, ["a", "b.*", pattern]) == ("/event_types/2", "invalid_pattern")
    assert told(check_pattern, pattern, 7) == ("/event_types/7", "invalid_pattern")


def test_patterns_are_bounded_and_kept_once() -> None:
    assert check_patterns(["b", "a.*", "b", "x" * 254 + "*"]) == ("b", "a.*", "x" * 254 + "*")
    assert len(check_patterns([f"t{number}" for number in range(100)])) == 100
    assert told(check_patterns, ["a"] * 101) == ("/event_types", "too_many")
    assert told(check_patterns, []) == ("/event_types", "empty")


# Matcher


def test_each_key_comes_once_in_the_order_given() -> None:
    interests = [
        Interest("all", ["*"]),
        Interest("exact", ["invoice.paid"]),
        Interest("many", ["*", "invoice.*", "invoice.paid", "invoice.paid"]),
        Interest("other", ["order.*"]),
        Interest("prefix", ["invoice.*"], compile_filter({"data.amount": {"gte": 5}})),
        Interest("none", []),
    ]
    assert Matcher(interests).match(event({"amount": 5})) == ["all", "exact", "many", "prefix"]
    assert Matcher(interests).match(event({"amount": 4})) == ["all", "exact", "many"]
    assert Matcher(interests[::-1]).match(event({"amount": 5})) == ["prefix", "many", "exact", "all"]
    assert Matcher([]).match(event()) == []


def test_filters_that_demand_other_values_are_not_looked_at() -> None:
    looked_at: list[int] = []

    def watched(customer: int) -> Filter:
        def matches(view: EventView) -> bool:
            looked_at.append(customer)
            return made.matches(view)

        made = compile_filter({"data.customer": {"in": [customer, -customer]}, "data.paid": True})
        return Filter(matches=matches, demand=made.demand, needs_data=made.needs_data)

    matcher = Matcher([Interest(number, ["invoice.*"], watched(number)) for number in range(1, 1001)])
    assert matcher.match(event({"customer": 7, "paid": True})) == [7]
    assert matcher.match(event({"customer": -8, "paid": False})) == []
    assert matcher.match(event({"customer": [9]})) == []
    assert looked_at == [7, 8]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was parsed."""
    texts: list[Any] = []
    parse = msgspec.json.decode

    def record(text: str | bytes) -> Any:
        texts.append(text)
        return parse(text)

    monkeypatch.setattr(event_view, "parse", record)
    return texts


def test_data_is_parsed_once_for_all_subscriptions(parsed: list[Any]) -> None:
    interests = [Interest(limit, ["*"], compile_filter({"data": {"gte": limit}})) for limit in range(1, 50)]
    assert Matcher(interests).match(event(7)) == [1, 2, 3, 4, 5, 6, 7]
    assert parsed == ["7"]


def test_null_data_is_parsed_once(parsed: list[Any]) -> None:
    view = event(None)
    assert all(compile_filter(wanted).matches(view) for wanted in ({"data": None}, {"data": {"exists": True}}))
    assert parsed == ["null"]


@pytest.mark.parametrize(
    "interest",
    [
        Interest(1, ["*"]),
        Interest(1, ["order.*"], compile_filter({"data": 1})),
        Interest(
            1, ["*"], compile_filter({"type": {"prefix": "inv"}, "source": "/billing", "subject": {"exists": False}})
        ),
        Interest(1, ["*"], compile_filter({"data": 1, "any": [{"data": 1}], "source": "/other"})),
        Interest(1, ["*"], compile_filter({"any": [{"data": 1}, {"data": 2, "subject": "x"}, {"source": "/billing"}]})),
    ],
)
def test_data_is_not_parsed_when_the_rest_decides(interest: Interest[int], parsed: list[Any]) -> None:
    view = EventView(type="invoice.paid", source="/billing", subject=None, data_text="no JSON at all")
    Matcher([interest]).match(view)
    assert parsed == []


@pytest.mark.parametrize(
    ("wanted", "needs_data"),
    [
        (None, False),
        ({"source": "/data", "any": [{"type": "data"}, {"subject": {"exists": False}}]}, False),
        ({"data.a": 1}, True),
        ({"source": "/a", "any": [{"type": "t"}, {"all": [{"data": {"exists": True}}]}]}, True),
    ],
)
def test_matcher_tells_whether_it_needs_the_data(wanted: Any, needs_data: bool) -> None:
    made = wanted and compile_filter(wanted)
    assert Matcher([Interest(1, ["*"]), Interest(2, ["a"], made)]).needs_data is needs_data


# Against the definition, on whatever comes

NAMES = st.sampled_from(["a", "b", "0", "1", "01"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([0.0, 1.0, 1.5, 1e300, 10**30]),
    st.text("aé0", max_size=2),
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["any", "all", "in", "eq"]), inner),
    max_leaves=20,
)
PATHS = st.lists(NAMES, max_size=3).map(lambda names: ".".join(["data", *names]))
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le
}  # fmt: skip
ORDERED = SCALARS.filter(lambda value: isinstance(value, str) or kind_of(value) == "number")
CONDITIONS = SCALARS | st.fixed_dictionaries(
    {},
    optional={
        "eq": SCALARS,
        "ne": SCALARS,
        "in": st.lists(SCALARS, min_size=1, max_size=3),
        "exists": st.booleans(),
        "prefix": st.text("aé0", max_size=1),
        **dict.fromkeys(COMPARISONS, ORDERED),
    },
).filter(bool)
FILTERS = st.recursive(
    st.dictionaries(PATHS, CONDITIONS, min_size=1, max_size=2),
    lambda inner: st.dictionaries(st.sampled_from(["any", "all"]), st.lists(inner, min_size=1, max_size=3), min_size=1),
    max_leaves=4,
)
MISSING = object()


def kind_of(value: Any) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def value_at(data: Any, names: Sequence[str]) -> Any:
    for name in names:
        if isinstance(data, list) and name in map(str, range(len(data))):
            data = data[int(name)]
        elif isinstance(data, dict) and name in data:
            data = data[name]
        else:
            return MISSING
    return data


def holds(name: str, operand: Any, value: Any) -> bool:
    """One condition, by its definition."""
    if name in ("eq", "ne"):
        return (kind_of(value) == kind_of(operand) and value == operand) == (name == "eq")
    if name == "in":
        return any(holds("eq", item, value) for item in operand)
    if name == "exists":
        return bool((value is not MISSING) == operand)
    if name == "prefix":
        return isinstance(value, str) and value.startswith(operand)
    return kind_of(value) == kind_of(operand) and COMPARISONS[name](value, operand)


def naive(wanted: dict[str, Any], data: Any) -> bool:
    """A filter, by its definition."""
    verdicts = []
    for name, member in wanted.items():
        if name in ("any", "all"):
            verdicts.append({"any": any, "all": all}[name]([naive(item, data) for item in member]))
            continue
        value = value_at(data, name.split(".")[1:])
        conditions = member if isinstance(member, dict) else {"eq": member}
        verdicts += [holds(operator_name, operand, value) for operator_name, operand in conditions.items()]
    return all(verdicts)


def compiled_unless_too_deep(wanted: Any) -> Filter:
    try:
        return compile_filter(wanted)
    except Problem as problem:
        if problem.errors[0].code == "too_deep":
            reject()
        raise


@given(wanted=FILTERS, data=JSON)
def test_filter_equals_its_definition(wanted: Any, data: Any) -> None:
    compiled = compiled_unless_too_deep(wanted)
    assert compiled.matches(event(data)) is naive(wanted, data)


@given(wanted=FILTERS, data=ANY_JSON)
def test_filter_never_fails_on_any_data(wanted: Any, data: Any) -> None:
    assert compiled_unless_too_deep(wanted).matches(event(data)) in (True, False)


@given(wanted=ANY_JSON | st.dictionaries(PATHS | st.text(), ANY_JSON))
@example({"data": 10**400})
def test_anything_is_a_filter_or_a_problem_of_the_filter(wanted: Any) -> None:
    try:
        verdict = compile_filter(wanted).matches(event({"a": [1]}))
    except Problem as problem:
        pointers = [error.pointer for error in problem.errors]
    else:
        pointers = ["/filter"] if verdict in (True, False) else []
    assert pointers
    assert all(pointer.startswith("/filter") for pointer in pointers)


TYPES = st.text("ab.", min_size=1, max_size=4)
PATTERNS = st.lists(st.one_of(TYPES, st.text("ab.", max_size=3).map(lambda start: start + "*")), max_size=4)
TENANT_FILTERS: list[Any] = [
    None,
    {"data": {"gte": 0}},
    {"source": "/b"},
    {"data": 1, "source": {"prefix": "/"}},
    {"data": True},
    {"data": {"in": [0, 1.0, None, True]}},
    {"data": {"eq": 1, "in": [0, 1]}},
    {"all": [{"data": {"ne": 1}}, {"data": {"in": [1, False]}}]},
    {"any": [{"data": 1}, {"source": "/b"}]},
    {"any": [{"data": 0}]},
]
TENANT_DATA: st.SearchStrategy[Any] = st.sampled_from([None, True, False, -1, 0, 1, 1.0, "1", [], {}])


@given(
    wants=st.lists(st.tuples(PATTERNS, st.sampled_from(TENANT_FILTERS)), max_size=12),
    events=st.lists(st.tuples(TYPES, st.sampled_from(["/a", "/b", None]), TENANT_DATA), max_size=5),
)
def test_matcher_equals_a_loop_over_all_subscriptions(
    wants: list[tuple[list[str], Any]], events: list[tuple[str, str | None, Any]]
) -> None:
    interests = [Interest(key, names, wanted and compile_filter(wanted)) for key, (names, wanted) in enumerate(wants)]
    matcher = Matcher(interests)
    for type_name, source, data in events:
        view = event(data, type_name=type_name, source=source)
        expected = [
            key
            for key, patterns, wanted, _ in interests
            if any(fnmatchcase(type_name, pattern) for pattern in patterns) and (not wanted or wanted.matches(view))
        ]
        assert matcher.match(view) == expected


def test_parsing_is_that_of_the_intake() -> None:
    text = msgspec.json.encode(INVOICE)
    assert EventView(type="t", source=None, subject=None, data_text=text).data == INVOICE
