"""Attacks by somebody who can write to Redis."""

import asyncio
import base64
import copy
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

from celery import Celery
from redis.asyncio import Redis

from benchmarks.hostile.attacker import Attacker
from benchmarks.workers import PROCESSING, QUEUES

_MISSING = object()
_WRONG: tuple[Any, ...] = (_MISSING, None, "wrong", -1, 1e308, [], [1], {}, {"wrong": 1}, "x" * 100_000)
_NO_MESSAGES = (b"", b"\0\xff", b"null", b"[]", b"{}", b"1e999", b'"text"', b"[" * 100_000, b'{"body": ' * 10_000)
_COMMANDS = ("shutdown", "pool_shrink", "cancel_consumer", "rate_limit", "time_limit", "conf", "wrong")


async def malformed_messages(attacker: Attacker) -> None:
    """Into each queue, what is no message, and messages of which one part is wrong."""
    # Celery has a name of its own for Redis on a socket.
    url = attacker.site.broker.replace("redis+socket:", "unix:").replace("virtual_host=", "db=")
    async with Redis.from_url(url) as redis:
        messages = [(queue, text) for text in [*_NO_MESSAGES, *malformed(good_message())] for queue in QUEUES.values()]
        endless = itertools.cycle(messages)

        async def step(_: int) -> None:
            queue, text = next(endless)
            await redis.lpush(queue, text)
            attacker.outcomes["pushed"] += 1

        await attacker.repeat(step, rate=len(messages) / 6)


async def control_messages(attacker: Attacker) -> None:
    """Celery's own commands to its workers."""
    with Celery(broker=attacker.site.broker) as app:

        async def step(number: int) -> None:
            await asyncio.to_thread(app.control.broadcast, _COMMANDS[number % len(_COMMANDS)], arguments={})
            attacker.outcomes["published"] += 1

        await attacker.repeat(step, rate=5)


def good_message() -> dict[str, Any]:
    """A message as Celery would send it, for a task that there is."""
    number = str(uuid4())
    headers: dict[str, Any] = {
        "task": PROCESSING, "id": number, "root_id": number, "parent_id": None, "lang": "py", "group": None,
        "argsrepr": "()", "kwargsrepr": "{}", "origin": "me", "retries": 0, "eta": None, "expires": None,
        "timelimit": [None, None], "ignore_result": True, "stamps": {}, "most-waiting": 10, "wait-seconds": 0,
    }  # fmt: skip
    properties = {
        "correlation_id": number, "reply_to": str(uuid4()), "delivery_mode": 2, "priority": 0,
        "delivery_info": {"exchange": "", "routing_key": "events"}, "body_encoding": "base64", "delivery_tag": number,
    }  # fmt: skip
    body = json.dumps([[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
    }


def malformed(message: dict[str, Any]) -> Iterator[bytes]:
    """The message again and again, each time with one of its parts wrong or missing."""
    bodies: tuple[Any, ...] = (
        [1],
        [[1, 2], {}, {}],
        [[], {"wrong": 1}, {}],
        [[], {}, {"chain": [1], "callbacks": [1]}],
        {},
        "text",
    )
    texts = [json.dumps(body).encode() for body in bodies]
    for text in [*texts, b"\xff", b"[" * 100_000]:
        yield json.dumps({**message, "body": base64.b64encode(text).decode()}).encode()
    for path, wrong in itertools.product(_paths(message), _WRONG):
        changed = copy.deepcopy(message)
        *outer, name = path
        part = changed
        for step in outer:
            part = part[step]
        if part[name] == wrong:
            continue
        if wrong is _MISSING:
            del part[name]
        else:
            part[name] = wrong
        yield json.dumps(changed).encode()


def _paths(part: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in part.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from _paths(value, (*above, name))
