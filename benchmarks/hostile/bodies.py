"""Attacks by what a body says: few bytes that make much work, or much of an answer."""

import gzip
import itertools
import json
import random
import re
from uuid import uuid4

import zstandard

from benchmarks.hostile.attacker import Attacker
from benchmarks.streams import BATCH_PATH, SINGLE_PATH

_METHODS = {"get", "post", "put", "patch", "delete"}
# What a decoder's message quotes it in: a search for the end of the quotation meets it again and again, and the line's
# end keeps it from ever being found.
_QUOTATION = "` - at `$"
_NAME_SIZES = (36_000, 126_000)
# Options of which only the last one equals the items, as many as the schema may have.
_OPTIONS = (20_000, 8_000, 3_000, 1_000, 300)
_COSTLY_ITEMS = 500
_SCHEMAS = 60
# Each of these takes half a megabyte once it is compiled.
_PATTERNS = [f"^.{{1,250}}{number}$" for number in range(8)]
# A batch may have no more.
_BATCH_BYTES = 5 * 1024 * 1024
_DATA_BYTES = 255 * 1024
_UNPACKED_BYTES = 64 * 1024 * 1024


async def field_names(attacker: Attacker) -> None:
    """At every endpoint that decodes a body, as the API's own description lists them."""
    places = await _decoding_endpoints(attacker)
    names = [_QUOTATION * (size // len(_QUOTATION)) + "\\n" for size in _NAME_SIZES]
    bodies = [f'{{"{name}": 1}}'.encode() for name in names]
    requests = [attacker.request(method, path, body) for method, path in places for body in bodies]
    random.shuffle(requests)
    endless = itertools.cycle(requests)
    await attacker.repeat(lambda _: attacker.send(next(endless)), rate=8)


async def _decoding_endpoints(attacker: Attacker) -> list[tuple[str, str]]:
    """Methods and paths; those about a subscription name one that there is."""
    document = await attacker.call("GET", "/api/schema")
    subscriptions = await attacker.call("GET", "/api/v1/subscriptions")
    known = {"subscription_id": subscriptions["data"][0]["id"], "name": "invoice.paid"}
    return [
        (method.upper(), re.sub(r"{(\w+)}", lambda found: known.get(found[1]) or str(uuid4()), path))
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method in _METHODS and "requestBody" in operation
    ]


async def store_costly_schema(attacker: Attacker) -> None:
    """The costliest that is taken."""
    for options in _OPTIONS:
        others: list[list[int]] = [[]] * options
        if await _store_schema(attacker, "costly", {"items": {"enum": [*others, [0]]}}):
            return


async def check_costly_batches(attacker: Attacker) -> None:
    data = [[0]] * _COSTLY_ITEMS
    events = {"events": [{"type": "costly", "data": data}] * 1_000}
    request = attacker.request("POST", BATCH_PATH, json.dumps(events, separators=(",", ":")).encode())
    await attacker.repeat(lambda _: attacker.send(request), rate=1, at_once=4)


async def store_large_schemas(attacker: Attacker) -> None:
    for number in range(_SCHEMAS):
        patterns = [{"pattern": pattern} for pattern in _PATTERNS]
        await _store_schema(attacker, f"large.{number}", {"title": str(number), "items": {"anyOf": patterns}})


async def check_large_schemas(attacker: Attacker) -> None:
    """Texts of many kinds of letters, so that the automata grow."""
    chance = random.Random(1)
    texts = ["".join(chr(chance.randrange(0x20, 0xD7FF)) for _ in range(250)) for _ in range(20)]
    bodies = [json.dumps({"type": f"large.{number}", "data": texts}).encode() for number in range(_SCHEMAS)]
    requests = itertools.cycle([attacker.request("POST", SINGLE_PATH, body) for body in bodies])
    await attacker.repeat(lambda _: attacker.send(next(requests)), rate=12)


async def _store_schema(attacker: Attacker, name: str, schema: object) -> bool:
    """Whether it is in force, from now on or since before."""
    body = json.dumps({"name": name, "schema": schema, "validation": "reject"}, separators=(",", ":")).encode()
    return await attacker.send(attacker.request("POST", "/api/v1/event-types", body)) in (201, 409)


async def store_huge_numbers(attacker: Attacker) -> None:
    """Each of five characters; written out, of 309."""
    await store_large_events(attacker, "[" + ",".join(["1e308"] * (_DATA_BYTES // 6)) + "]", batches=1)


async def store_large_texts(attacker: Attacker) -> None:
    await store_large_events(attacker, '"' + "x" * _DATA_BYTES + '"', batches=5)


async def store_large_events(attacker: Attacker, data: str, *, batches: int) -> None:
    """As many as a batch may have of that data, so many times."""
    event = f'{{"type": "large", "data": {data}}}'
    events = [event] * (_BATCH_BYTES // (len(event) + 2))
    request = attacker.request("POST", BATCH_PATH, f"[{','.join(events)}]".encode())
    for _ in range(batches):
        await attacker.send(request)


async def list_events(attacker: Attacker) -> None:
    request = attacker.request("GET", f"{SINGLE_PATH}?limit=1000")
    await attacker.repeat(lambda _: attacker.send(request), rate=2, at_once=3)


async def bombs(attacker: Attacker) -> None:
    """Bodies that unpack to more than a thousand times their size, in one part and in many."""
    plain = b'{"type": "bomb", "data": "' + b"x" * _UNPACKED_BYTES + b'"}'
    many = b"".join([gzip.compress(b"[" * 64 * 1024)] * 1_000)
    packed = [("gzip", gzip.compress(plain)), ("zstd", zstandard.compress(plain)), ("gzip", many)]
    requests = [
        attacker.request("POST", path, body, content_encoding=encoding)
        for encoding, body in packed
        for path in (SINGLE_PATH, BATCH_PATH)
    ]
    await attacker.repeat(lambda number: attacker.send(requests[number % len(requests)]), rate=10)


async def nesting(attacker: Attacker) -> None:
    """In each place that takes a value of any form, as deep as the body's bound lets it be."""
    deep = b"[" * 60_000 + b"]" * 60_000
    objects = b'{"a":' * 30_000 + b"1" + b"}" * 30_000
    nots = b'{"not":' * 8_000 + b"{}" + b"}" * 8_000
    requests = [
        attacker.request("POST", SINGLE_PATH, b'{"type": "deep", "data": ' + deep + b"}"),
        attacker.request("POST", SINGLE_PATH, b'{"type": "deep", "data": ' + objects + b"}"),
        attacker.request("POST", BATCH_PATH, b"[" * _BATCH_BYTES),
        attacker.request("POST", "/api/v1/event-types", b'{"name": "deep", "schema": ' + nots + b"}"),
        attacker.request("POST", "/api/v1/subscriptions", b'{"kind": "inbox", "filter": ' + nots + b"}"),
    ]
    await attacker.repeat(lambda number: attacker.send(requests[number % len(requests)]), rate=10)
