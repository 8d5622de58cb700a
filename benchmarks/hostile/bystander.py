"""A tenant that does nothing out of the ordinary: it sends and reads at fixed times, and gets its webhooks.

In a process of its own, so that nothing else that the benchmark does counts in its latencies.
"""

import asyncio
import itertools
import json
import multiprocessing
import random
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import uvloop

from benchmarks.connection import Answer, Connection
from benchmarks.receiver import Receiver
from benchmarks.servers import HOST
from benchmarks.streams import SINGLE_PATH, event_body, request_head
from benchmarks.targets import new_tag

# What it does a second: all that the plan `pro` allows it, and as much reading as keeps each web process far below the
# share of its time from which on readers wait (core.bounds.TIME_SHARE).
SENDS, READS = 16.0, 5.0
_CLIENTS = 24
# Of connections that stay, all might be at the same one of the web server's processes.
_REQUESTS_A_CONNECTION = 8
_PATIENCE_SECONDS = 60.0
_ARRIVAL_SECONDS = 20.0


class Deed(StrEnum):
    """What is measured: an event until its 202, a list or one event, an event's 202 until its webhook."""

    SEND = "send"
    READ = "read"
    WEBHOOK = "webhook"


@dataclass(kw_only=True)
class Experience:
    """What it saw: latencies in seconds, and how often something else happened than should."""

    latencies: dict[Deed, list[float]] = field(default_factory=lambda: {deed: [] for deed in Deed})
    errors: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, kw_only=True)
class Bystander:
    """The tenant, and the process that it lives in."""

    api_key: str
    receiver: Receiver
    pool: ProcessPoolExecutor

    def stay(self, port: int, seconds: float) -> Experience:
        """Send and read for so long, and wait for the webhooks."""
        return self.pool.submit(_stay, port, self.receiver, self.api_key, seconds).result()


@contextmanager
def bystanding(receiver: Receiver, api_key: str) -> Iterator[Bystander]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_DFL)) as pool:
        yield Bystander(api_key=api_key, receiver=receiver, pool=pool)


def _stay(port: int, receiver: Receiver, api_key: str, seconds: float) -> Experience:
    receiver.forget()
    stay = _Stay(port, api_key, seconds)
    uvloop.run(stay.run())
    arrivals = _arrivals(receiver, len(stay.accepted))
    for event_id, moment in stay.accepted.items():
        if event_id in arrivals:
            # An answer may be read a moment after its webhook has arrived.
            stay.experience.latencies[Deed.WEBHOOK].append(max(0.0, arrivals[event_id] - moment))
        else:
            stay.experience.errors["webhook: none"] += 1
    return stay.experience


def _arrivals(receiver: Receiver, expected: int) -> dict[str, float]:
    deadline = time.monotonic() + _ARRIVAL_SECONDS
    while receiver.counts().ids < expected and time.monotonic() < deadline:
        time.sleep(0.1)
    return receiver.arrivals()


class _Stay:
    """One of them. Latencies count from the moment when a request was due."""

    def __init__(self, port: int, api_key: str, seconds: float) -> None:
        self.experience = Experience()
        self.accepted: dict[str, float] = {}
        self._port, self._api_key, self._seconds = port, api_key, seconds
        self._newest: deque[str] = deque(maxlen=100)

    async def run(self) -> None:
        await asyncio.gather(
            *self._clients(Deed.SEND, SENDS, self._sends(), 202, self._note),
            *self._clients(Deed.READ, READS, self._reads(), 200, lambda _: None),
        )

    def _clients(
        self, deed: Deed, rate: float, requests: Iterator[bytes], right: int, note: Callable[[Answer], None]
    ) -> Iterator["asyncio.Task[None]"]:
        begin = time.monotonic()
        dues = (begin + number / rate for number in range(round(rate * self._seconds)))

        async def client() -> None:
            connection = Connection(HOST, self._port)
            for due, number in zip(dues, itertools.count(1), strict=False):
                await asyncio.sleep(due - time.monotonic())
                try:
                    answer = await asyncio.wait_for(connection.exchange(next(requests)), _PATIENCE_SECONDS)
                except OSError as error:
                    self.experience.errors[f"{deed}: {type(error).__name__}"] += 1
                    connection.close()
                else:
                    if answer.status == right:
                        note(answer)
                    else:
                        self.experience.errors[f"{deed}: {answer.status}"] += 1
                self.experience.latencies[deed].append(time.monotonic() - due)
                if number % _REQUESTS_A_CONNECTION == 0:
                    connection.close()
            connection.close()

        return (asyncio.ensure_future(client()) for _ in range(_CLIENTS))

    def _sends(self) -> Iterator[bytes]:
        head, tag = request_head(SINGLE_PATH, self._api_key), new_tag()
        for number in itertools.count():
            body = event_body(f"{tag}-{number:08d}", keyed=True)
            yield f"{head}{len(body)}\r\n\r\n{body}".encode()

    def _reads(self) -> Iterator[bytes]:
        """A list and one event by turns."""
        while True:
            for path in (SINGLE_PATH, f"{SINGLE_PATH}/{random.choice(self._newest)}" if self._newest else SINGLE_PATH):
                yield (f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {self._api_key}\r\n\r\n").encode()

    def _note(self, answer: Answer) -> None:
        event_id = json.loads(answer.body)["id"]
        self.accepted[event_id] = time.monotonic()
        self._newest.append(event_id)
