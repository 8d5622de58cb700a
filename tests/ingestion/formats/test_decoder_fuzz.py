"""Whatever bytes come in: a Problem that names a client error, or events that PostgreSQL can hold. Nothing else."""

import gzip
import json
import random
import re
from collections.abc import Callable
from datetime import UTC
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from core.problems import Problem
from ingestion.formats.decoding import MAX_DATA_BYTES, DecodedEvent, decode_event
from ingestion.formats.dispatch import decode_batch, decode_single
from ingestion.formats.json_depth import MAX_DEPTH
from rest.bodies import unpack
from tests.support.events.mutations import BATCHES, BINARY, JSON, NATIVE, PLAIN, SINGLES, VALUES, mutate, mutate_headers

# Each example is a seed for this many mutated bodies of every format: Hypothesis alone would take minutes for as many.
MUTATIONS = 50
FIXED = settings(max_examples=80, derandomize=True, deadline=None, database=None)


LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def check_event(event: DecodedEvent) -> None:
    """What PostgreSQL, Python and every consumer must be able to hold."""
    assert len(event.data.encode()) <= MAX_DATA_BYTES
    assert depth_of(json.loads(event.data, parse_int=str, parse_float=str)) <= MAX_DEPTH
    assert re.fullmatch(r"[A-Za-z0-9._\-/]{1,255}", event.type)
    for text, most in ((event.source, 1024), (event.subject, 1024), (event.idempotency_key, 255)):
        assert text is None or (1 <= len(text) <= most and "\x00" not in text and not LONE_SURROGATE.search(text))
    if event.time:
        event.time.astimezone(UTC)
    if event.annotations:
        depth_of(json.loads(event.annotations))
    assert len(event.fingerprint) == 32


def depth_of(value: Any) -> int:
    """How deep a JSON value is nested; asserts that no string in it holds a NUL or a lone surrogate."""
    if isinstance(value, str):
        assert "\x00" not in value
        assert not LONE_SURROGATE.search(value)
        return 0
    if isinstance(value, dict):
        return 1 + max((max(depth_of(name), depth_of(member)) for name, member in value.items()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


def check_problem(problem: Problem) -> None:
    assert 400 <= problem.status_code < 500


def outcome(decode: Callable[..., Any], *given: Any) -> Any:
    """What `decode(*given)` returns, or the Problem that it raises; any other exception fails the test."""
    try:
        return decode(*given)
    except Problem as problem:
        check_problem(problem)
        return problem


@FIXED
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_a_single_body_is_an_event_or_a_problem(seed: int) -> None:
    chance = random.Random(seed)
    for headers, body in SINGLES * MUTATIONS:
        found = outcome(decode_single, mutate_headers(headers, chance), mutate(body, chance))
        if isinstance(found, DecodedEvent):
            check_event(found)
        else:
            assert isinstance(found, Problem)


@FIXED
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_a_batch_is_events_and_problems_or_one_problem(seed: int) -> None:
    chance = random.Random(seed)
    for headers, body in BATCHES * MUTATIONS:
        found = outcome(decode_batch, mutate_headers(headers, chance), mutate(body, chance))
        for item in found if isinstance(found, list) else [found]:
            if isinstance(item, DecodedEvent):
                check_event(item)
            else:
                check_problem(item)


@FIXED
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_a_batch_agrees_with_its_events_one_by_one(seed: int) -> None:
    """The way that decodes all at once takes and refuses exactly what decoding each by itself does."""
    chance = random.Random(seed)
    for _ in range(MUTATIONS):
        lines = [mutate(chance.choice((NATIVE, PLAIN)), chance).replace(b"\n", b" "), NATIVE]
        lines = [line for line in lines if line and not line.isspace()]
        together = outcome(decode_batch, {"content-type": "application/x-ndjson"}, b"\n".join(lines))
        apart = [outcome(decode_event, line) for line in lines]
        assert list(map(describe, together)) == list(map(describe, apart))


def describe(item: DecodedEvent | Problem) -> object:
    return item if isinstance(item, DecodedEvent) else (item.problem_type.code, item.errors)


@FIXED
@given(body=st.binary(max_size=200), type_name=st.sampled_from([None, *VALUES, "application/x-ndjson"]))
def test_noise_is_a_problem_or_events(body: bytes, type_name: str | None) -> None:
    headers = {} if type_name is None else {"content-type": type_name}
    for decode in (decode_single, decode_batch):
        for extra in ({}, BINARY):
            outcome(decode, {**extra, **headers}, body)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@FIXED
@given(value=st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20))
@pytest.mark.parametrize("ascii_only", [True, False])
def test_every_json_value_without_nul_survives(ascii_only: bool, value: Any) -> None:
    try:
        data = json.dumps(value, ensure_ascii=ascii_only)
        body = b'{"type":"t","data":%s}' % data.encode()
    except UnicodeEncodeError:
        return
    found = outcome(decode_single, JSON, body)
    if isinstance(found, DecodedEvent):
        assert found.data == data
        check_event(found)
    else:
        assert (
            "\\u0000" in data
            or re.search(r"[0-9]e[+-]?[0-9]{3}|[0-9]{132}", data)
            or LONE_SURROGATE.search(repr(value))
        )


@FIXED
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_a_damaged_compressed_body_is_the_body_or_a_problem(seed: int) -> None:
    chance = random.Random(seed)
    plain = NATIVE * 20
    packed = {
        "gzip": gzip.compress(plain, mtime=0),
        "zstd": zstandard.ZstdCompressor(write_checksum=True).compress(plain),
    }
    for encoding, body in packed.items():
        for _ in range(MUTATIONS):
            found = outcome(unpack, mutate(body, chance), encoding, 100_000)
            assert isinstance(found, Problem) or len(found) <= 100_000
