"""The Python load generator: keep-alive connections on uvloop, every request in flight awaited before the end.

So its counts are exact. It shares the machine with the server; its own use of a core is part of the result.
"""

import asyncio
import multiprocessing
import re
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier

import uvloop

from benchmarks.connection import Answer, Connection
from benchmarks.samples import Sample, Tally, sample_of
from benchmarks.servers import HOST
from benchmarks.streams import STATUSES, Outcome, Request, Stream, requests_of

# What is still unanswered this long after the end counts as failed.
_PATIENCE_SECONDS = 60.0
_ACCEPTED = re.compile(rb'"accepted": ?([0-9]+)')
_DUPLICATES = re.compile(rb'"duplicates": ?([0-9]+)')
# Processes that make one load begin at the same time, or not at all.
_START_SECONDS = 60.0
_all_ready: Barrier | None = None
# Refused for the rate limit: what a tenant over its limit is sent.
TOO_MANY = 429


@dataclass(frozen=True, kw_only=True)
class Load:
    """`clients` connections that send `stream` for `seconds`, or `requests_each` requests each, `repeat` times.

    With `rate` (requests a second of all clients together) requests are due at fixed times, and latency counts from
    then; without it, a client sends when its last request is answered. `reconnect` opens a connection per request.
    """

    stream: Stream
    clients: int
    seconds: float = 0.0
    requests_each: int = 0
    repeat: int = 1
    rate: float = 0.0
    reconnect: bool = False
    over_limit: bool = False


def run_load(load: Load, *, port: int, processes: int) -> Sample:
    """Send the load to the server on `port`, with that many generator processes at most."""
    return run_loads([load], port=port, processes=processes)[0]


def run_loads(loads: Sequence[Load], *, port: int, processes: int = 1) -> list[Sample]:
    """Send several loads at the same time, one sample for each."""
    shares = [_shares(load, processes) for load in loads]
    tasks = sum(len(share) for share in shares)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(tasks, context, initializer=_prepare, initargs=(context.Barrier(tasks),)) as pool:
        futures = [
            [pool.submit(_work, part, port, f"{number}{index}") for index, part in enumerate(share)]
            for number, share in enumerate(shares)
        ]
        samples = [sample_of([future.result() for future in group]) for group in futures]
    for load, sample in zip(loads, samples, strict=True):
        # A request that got no answer may be in the database all the same.
        sample.unread = sample.failures * load.stream.batch_size
    return samples


def _shares(load: Load, processes: int) -> list[Load]:
    parts = min(processes, load.clients)
    sizes = [load.clients // parts + (index < load.clients % parts) for index in range(parts)]
    return [replace(load, clients=size, rate=load.rate * size / load.clients) for size in sizes]


def _prepare(barrier: Barrier) -> None:
    """In each new process: where it waits for the others, and that Ctrl-C ends it without a word."""
    global _all_ready  # noqa: PLW0603 - a barrier can only be handed to a process while it starts
    _all_ready = barrier
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _work(load: Load, port: int, name: str) -> Tally:
    work = _Work(load, port, name)
    assert _all_ready is not None
    _all_ready.wait(_START_SECONDS)
    return uvloop.run(work.run())


class _Work:
    """The clients of one process."""

    def __init__(self, load: Load, port: int, name: str) -> None:
        self._load = load
        self._clients = [
            (Connection(HOST, port), requests_of(load.stream, f"{name}{number:03d}")) for number in range(load.clients)
        ]
        self._tally = Tally()
        self._due = 0

    async def run(self) -> Tally:
        cpu, begin = time.process_time(), time.perf_counter()
        for _ in range(self._load.repeat):
            await self._all_clients()
        self._tally.seconds = time.perf_counter() - begin
        self._tally.cpu_seconds = time.process_time() - cpu
        return self._tally

    async def _all_clients(self) -> None:
        begin = time.perf_counter()
        tasks = [asyncio.create_task(self._client(*client, begin)) for client in self._clients]
        _, late = await asyncio.wait(tasks, timeout=self._load.seconds + _PATIENCE_SECONDS)
        self._tally.failures += len(late)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=bool(late))

    async def _client(self, connection: Connection, requests: Iterator[Request], begin: float) -> None:
        sent = 0
        while self._goes_on(sent, begin):
            due = await self._next_due(begin)
            if not self._goes_on(sent, begin):
                return
            sent += 1
            request = next(requests)
            started = due or time.perf_counter()
            try:
                answer = await connection.exchange(request.data)
            except OSError:
                self._tally.failures += 1
                connection.close()
                continue
            self._tally.latencies.append(time.perf_counter() - started)
            self._count(request, answer)
            if self._load.reconnect:
                connection.close()

    def _goes_on(self, sent: int, begin: float) -> bool:
        if self._load.requests_each:
            return sent < self._load.requests_each
        return time.perf_counter() - begin < self._load.seconds

    async def _next_due(self, begin: float) -> float:
        """Wait for the next due time of the fixed rate; 0 without one."""
        if not self._load.rate:
            return 0.0
        due = begin + self._due / self._load.rate
        self._due += 1
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        return due

    def _count(self, request: Request, answer: Answer) -> None:
        tally, status = self._tally, answer.status
        tally.statuses[status] += 1
        refused = self._load.over_limit and status == TOO_MANY
        if status not in STATUSES[request.expected] and not refused:
            tally.unexpected += 1
        if status in STATUSES[Outcome.ACCEPTED]:
            tally.accepted += _number(_ACCEPTED, answer, otherwise=1)
            tally.duplicates += _number(_DUPLICATES, answer, otherwise=0)
        elif status in STATUSES[Outcome.DUPLICATE]:
            tally.duplicates += 1
        elif status in STATUSES[Outcome.REJECTED]:
            tally.rejected += 1


def _number(pattern: re.Pattern[bytes], answer: Answer, *, otherwise: int) -> int:
    """The count in the answer to a batch; the answer to one event has none."""
    found = pattern.search(answer.body)
    return int(found[1]) if found else otherwise
