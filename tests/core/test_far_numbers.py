"""Numbers near the ends of a double's range: msgspec takes 50 times as long for each as Python's decoder does."""

import json
from typing import Any

import msgspec
import pytest

from console.subscriptions.forms import read_json
from core.decoding import decode, parse
from core.problems import Problem

FAR = ("1e308", "-1.5E-307", "5e-324", "1.7976931348623157e+308")


class Body(msgspec.Struct):
    value: Any


@pytest.fixture
def untaken(monkeypatch: pytest.MonkeyPatch) -> None:
    """msgspec makes no value of any text."""

    def refuse(text: object, type: object = Any) -> Any:  # noqa: A002 - msgspec's
        assert type is msgspec.Raw
        return text

    monkeypatch.setattr(msgspec.json, "decode", refuse)


@pytest.mark.parametrize("number", FAR)
@pytest.mark.usefixtures("untaken")
def test_many_of_them_are_left_to_pythons_decoder(number: str) -> None:
    text = f"[{','.join([number] * 300)}]"
    assert parse(text) == parse(text.encode()) == [float(number)] * 300
    if number != "5e-324":  # which jsonb cannot hold
        assert read_json(text) == [float(number)] * 300


@pytest.mark.parametrize("number", FAR)
def test_a_body_that_has_many_of_them_is_refused(number: str) -> None:
    few, many = (f'{{"value": [{",".join([number] * count)}]}}'.encode() for count in (200, 201))
    assert decode(few, Body).value == [float(number)] * 200
    with pytest.raises(Problem) as caught:
        decode(many, Body)
    assert [error.code for error in caught.value.errors] == ["too_costly"]


def test_hexadecimal_digits_in_texts_are_no_numbers() -> None:
    value = ['0e1234 \\ " 1e308'] * 300
    body = json.dumps({"value": value}).encode()
    assert decode(body, Body).value == value
    assert parse(body) == {"value": value}
