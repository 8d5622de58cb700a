"""Numbers that jsonb prints with hundreds of digits come back as short as they were sent."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.formats.stored_numbers import with_exponents
from tests.conftest import Tenant

NUMBERS = st.builds(
    "{}{}{}e{}".format,
    st.sampled_from(["", "-"]),
    st.integers(0, 10**17),
    st.one_of(st.just(""), st.integers(0, 10**6).map(".{}".format)),
    st.integers(-308, 308),
)


def printed(number: str) -> str:
    """As jsonb prints it."""
    return format(Decimal(number), "f")


@given(NUMBERS)
def test_a_number_keeps_its_value_and_is_hardly_longer_than_it_was_sent(number: str) -> None:
    shown = with_exponents(printed(number))
    assert Decimal(shown) == Decimal(number)
    assert len(shown) <= len(number) + 24
    json.loads(shown)


@given(
    st.lists(st.one_of(st.text(), st.integers(-(10**40), 10**40), st.sampled_from(["0" * 30, '"' + "1" + "0" * 30])))
)
def test_everything_else_stays_as_it_is(value: list[object]) -> None:
    text = json.dumps(value)
    assert json.loads(with_exponents(text), parse_float=Decimal) == value


@pytest.mark.parametrize(
    "text", ["1" + "0" * 23, '"1' + "0" * 300 + '"', '["\\"1' + "0" * 300 + '"]', "0." + "1" * 300]
)
def test_what_nobody_would_write_with_an_exponent_has_none(text: str) -> None:
    assert with_exponents(text) == text


@pytest.mark.parametrize("number", ["1e308", "-1.5e300", "1e-300"])
def test_lists_and_events_do_not_grow(tenant: Tenant, number: str) -> None:
    data = f"[{','.join([number] * 1_000)}]"
    event_id = tenant.post("/api/v1/events", b'{"type":"a","data":%s}' % data.encode()).json()["id"]
    for path in ("/api/v1/events", f"/api/v1/events/{event_id}"):
        answer = b"".join(tenant.get(path))
        assert len(answer) < len(data) + 2_000, path
        found = json.loads(answer)
        assert (found["data"][0] if path.endswith("events") else found)["data"] == [float(number)] * 1_000
