"""How fast the Python client sends and consumes beside httpx used by hand, and what `evp send` of a stream takes."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import httpx
import psutil
from events_client import AsyncClient, Client, InboxEvent

from benchmarks.comparing import Comparison, chosen, compare, drained, facts_of
from benchmarks.lab import Lab, running_lab
from benchmarks.options import Options
from benchmarks.progress import Progress
from benchmarks.report import Report
from benchmarks.samples import Sample, Tally, sample_of
from benchmarks.servers import HOST, memory_watched
from benchmarks.targets import Target, Tenant, prepared_platform
from benchmarks.workers import our_worker, wait_until
from installation.local.data_dir import CHECKOUT

TITLE = "The Python client: events a second, beside httpx used by hand"
HTTPX, SINGLE = "httpx", "single"
# A million lines by default.
_LINES_PER_SECOND = 125_000
_CONSUMED_PER_SECOND = 1_000
_BATCH = 500
# Far below what keeps anything busy.
_HANDED_PER_SECOND = 10
_HANDED_SECONDS = 60
_SENDING, _CONSUMING = "Sending from one thread", "Consuming an inbox, one handler at a time"
_HANDING = "From 202 to a consumer that waits"
_MEBIBYTE = 1024 * 1024

# Consumes with httpx or the client, for as long as it is let; tells the id of each event that it was handed.
_Consume = Callable[[AsyncClient, httpx.AsyncClient, Callable[[str], object]], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class _Bench:
    """The platform under test, and a client and httpx that talk to it."""

    target: Target
    client: Client
    http: httpx.Client
    seconds: float

    def sent_one_by_one(self) -> Sample:
        return self._sending(
            self._for_a_while(lambda number: self.client.events.send("bench.sent", {"number": number}))
        )

    def posted_one_by_one(self) -> Sample:
        return self._sending(self._for_a_while(lambda number: self._post("/api/v1/events", _event(number))))

    def buffered(self) -> Sample:
        def send() -> int:
            with self.client.events.buffer() as buffer:
                return self._for_a_while(lambda number: buffer.send("bench.sent", {"number": number}))()

        return self._sending(send)

    def posted_in_batches(self) -> Sample:
        def post(number: int) -> None:
            events = [_event(number * _BATCH + each) for each in range(_BATCH)]
            self._post("/api/v1/events/batch", {"events": events})

        return self._sending(lambda: self._for_a_while(post)() * _BATCH)

    def streamed(self, file: Path, lines: int) -> Sample:
        command = [sys.executable, "-m", "events_client.cli.main", "send", "--ndjson", str(file), "--restart"]
        settings = self.client.settings
        named = {"EVP_URL": settings.base_url, "EVP_API_KEY": settings.api_key, "XDG_STATE_HOME": str(file.parent)}
        environ = {**os.environ, **named, "PYTHONPATH": str(CHECKOUT / "clients/python/src")}

        def send() -> int:
            with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL) as process:
                with memory_watched(process.pid) as peak:
                    assert process.wait() == 0
                peaks.append(peak.mebibytes)
            return lines

        peaks: list[float] = []
        sample = self._sending(send)
        return replace(sample, peak_mebibytes=peaks[0])

    def streamed_by_hand(self, file: Path) -> Sample:
        def post() -> int:
            lines = 0
            with file.open("rb") as stream:
                while batch := [line for _, line in zip(range(_BATCH), stream, strict=False)]:
                    answer = self.http.post(
                        "/api/v1/events/batch",
                        content=b"".join(batch),
                        headers={"Content-Type": "application/x-ndjson"},
                    )
                    answer.raise_for_status()
                    lines += len(batch)
            return lines

        return self._sending(post)

    def consumed(self, events: int) -> Sample:
        def handle(event: InboxEvent) -> None:
            handled.append(event.id)

        handled: list[str] = []
        self._fill(events)
        return self._consuming(handled, lambda: self.client.inbox().consume(handle, until_empty=True))

    def consumed_by_hand(self, events: int) -> Sample:
        def consume() -> None:
            while leased := self._post("/api/v1/inbox/lease", {"max": 100}).json()["events"]:
                for event in leased:
                    handled.append(event["id"])
                    self._post("/api/v1/inbox/ack", {"event_ids": [event["id"]]})

        handled: list[str] = []
        self._fill(events)
        return self._consuming(handled, consume)

    def handed_on(self, consume: _Consume, events: int) -> Sample:
        self._fill(0)
        return asyncio.run(self._handing_on(consume, events))

    async def _handing_on(self, consume: _Consume, events: int) -> Sample:
        accepted: dict[str, float] = {}
        handed: dict[str, float] = {}
        settings = self.client.settings
        async with (
            AsyncClient(settings.base_url, settings.api_key) as client,
            httpx.AsyncClient(base_url=settings.base_url, headers=self.http.headers, timeout=_HANDED_SECONDS) as http,
        ):
            consuming = asyncio.ensure_future(consume(client, http, lambda pk: handed.setdefault(pk, time.monotonic())))
            # A worker that has just started would count for whoever comes first.
            first = await client.events.send("bench.handed", None)
            await _until(lambda: first.id in handed)
            began = time.monotonic()
            for number in range(events):
                await asyncio.sleep(1 / _HANDED_PER_SECOND)
                sent = await client.events.send("bench.handed", {"number": number})
                accepted[sent.id] = time.monotonic()
            await _until(lambda: accepted.keys() <= handed.keys())
            seconds = time.monotonic() - began
            consuming.cancel()
            with suppress(asyncio.CancelledError):
                await consuming
        latencies = [max(0.0, handed[pk] - at) for pk, at in accepted.items()]
        sample = sample_of([Tally(seconds=seconds, accepted=events, latencies=latencies)])
        found = len(accepted.keys() & handed.keys())
        return replace(sample, generator="", found=found, peak_mebibytes=_own_mebibytes())

    def _for_a_while(self, act: Callable[[int], object]) -> Callable[[], int]:
        def acting() -> int:
            ends, number = time.monotonic() + self.seconds, 0
            while time.monotonic() < ends:
                act(number)
                number += 1
            return number

        return acting

    def _sending(self, send: Callable[[], int]) -> Sample:
        self.target.empty(keep_queues=True)
        began = time.monotonic()
        sent = send()
        seconds = time.monotonic() - began
        return drained(events=sent, found=self.target.settled_count(), seconds=seconds, peak_mebibytes=_own_mebibytes())

    def _consuming(self, handled: list[str], consume: Callable[[], None]) -> Sample:
        began = time.monotonic()
        consume()
        seconds = time.monotonic() - began
        acknowledged = self._count("WHERE status = 'delivered'")
        return drained(events=len(set(handled)), found=acknowledged, seconds=seconds, peak_mebibytes=_own_mebibytes())

    def _fill(self, events: int) -> None:
        self.target.empty(keep_queues=True)
        # Until it is read for the first time, an inbox sleeps and gets nothing.
        next(self.client.inbox().list(page_size=1), None)
        with self.client.events.buffer() as buffer:
            for number in range(events):
                buffer.send("bench.consumed", {"number": number})
        wait_until(lambda: self._count("") >= events, what="all events are in the inbox")

    def _count(self, where: str) -> int:
        with self.target.connected() as connection:
            row = connection.execute(f"SELECT count(*) FROM delivery_delivery {where}").fetchone()
        assert row is not None
        return int(row[0])

    def _post(self, path: str, body: object) -> httpx.Response:
        answer = self.http.post(path, json=body)
        answer.raise_for_status()
        return answer


def run_clients(options: Options, progress: Progress) -> Report:
    """Measure each way to send and to consume, the client and httpx by hand in turns."""
    facts = facts_of(options)
    progress.say("Starting PostgreSQL, Valkey, a web server and a worker")
    with running_lab() as lab:
        target = prepared_platform(lab)
        (key,) = target.make_tenants([Tenant(name="clients")])
        with target.served() as server, our_worker(lab, target, processes=1):
            url = f"http://{HOST}:{server.port}"
            headers = {"Authorization": f"Bearer {key}"}
            with Client(url, key) as client, httpx.Client(base_url=url, headers=headers) as http:
                bench = _Bench(target=target, client=client, http=http, seconds=options.seconds)
                comparisons = chosen([*_comparisons(bench, lab, options)], options)
                progress.expect(2 * options.seconds * options.rounds * len(comparisons))
                rows = [compare(each, options, progress) for each in comparisons]
    return Report(name="clients", title=TITLE, facts=facts, rows=rows, promise="found, or acknowledged")


def _comparisons(bench: _Bench, lab: Lab, options: Options) -> Iterator[Comparison]:
    lines, consumed = round(_LINES_PER_SECOND * options.seconds), round(_CONSUMED_PER_SECOND * options.seconds)
    file = lab.data.root / "events.ndjson"
    with file.open("w") as stream:
        for number in range(lines):
            stream.write(json.dumps(_event(number)) + "\n")
    by_hand = partial(bench.streamed_by_hand, file)
    sides: list[tuple[str, str, Callable[[], Sample], Callable[[], Sample], str]] = [
        (_SENDING, "one by one, awaited", bench.sent_one_by_one, bench.posted_one_by_one, HTTPX),
        (_SENDING, "buffered, beside batches of 500", bench.buffered, bench.posted_in_batches, HTTPX),
        (_SENDING, "buffered, beside one by one", bench.buffered, bench.sent_one_by_one, SINGLE),
        (_SENDING, f"evp send of {lines:,} lines", partial(bench.streamed, file, lines), by_hand, HTTPX),
        (_CONSUMING, "consume", partial(bench.consumed, consumed), partial(bench.consumed_by_hand, consumed), HTTPX),
    ]
    for group, name, ours, reference, label in sides:
        yield Comparison(group=group, name=name, ours=ours, reference=reference, reference_label=label)
    handed = round(_HANDED_PER_SECOND * options.seconds)
    yield Comparison(
        group=_HANDING,
        name=f"an event each {1000 / _HANDED_PER_SECOND:.0f} ms",
        ours=partial(bench.handed_on, _wait_with_client, handed),
        reference=partial(bench.handed_on, _wait_by_hand, handed),
        reference_label=HTTPX,
        compared="p95",
    )


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_HANDED_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def _wait_with_client(client: AsyncClient, _http: httpx.AsyncClient, tell: Callable[[str], object]) -> None:
    async def handle(event: InboxEvent) -> None:
        tell(event.id)

    await client.inbox().consume(handle)


async def _wait_by_hand(_client: AsyncClient, http: httpx.AsyncClient, tell: Callable[[str], object]) -> None:
    while True:
        leased = await http.post("/api/v1/inbox/lease", json={"wait_seconds": 20})
        ids = [event["id"] for event in leased.raise_for_status().json()["events"]]
        for pk in ids:
            tell(pk)
        if ids:
            acknowledged = await http.post("/api/v1/inbox/ack", json={"event_ids": ids})
            acknowledged.raise_for_status()


def _event(number: int) -> dict[str, object]:
    return {"type": "bench.sent", "data": {"number": number}}


def _own_mebibytes() -> float:
    return float(psutil.Process().memory_info().rss / _MEBIBYTE)
