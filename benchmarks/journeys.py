"""Single events sent at fixed times to a whole system, and how long each took until its webhook arrived."""

import asyncio
import json
import time

import uvloop

from benchmarks.connection import Connection
from benchmarks.receiver import Receiver
from benchmarks.samples import Sample, percentile
from benchmarks.servers import HOST, WebServer
from benchmarks.streams import STATUSES, Kind, Outcome, Stream, requests_of
from benchmarks.targets import new_tag
from benchmarks.workers import wait_until
from installation.local.errors import UpError

_ARRIVAL_SECONDS = 60.0
_WARM_UP_EVENTS, _WARM_UP_RATE = 10, 10.0


def measured_journeys(server: WebServer, receiver: Receiver, *, api_key: str, events: int, rate: float) -> Sample:
    """Send `events` at `rate` a second, one at a time, and wait for their webhooks.

    Latencies count from the moment when the 202 has arrived. `found` counts the events whose webhook arrived,
    `unexpected` the webhooks that arrived again.
    """
    receiver.forget()
    before = receiver.counts()
    with server.memory_watched() as memory:
        begin = time.monotonic()
        accepted = uvloop.run(_send(server.port, api_key, events, rate))
        wait_until(lambda: receiver.counts().ids >= events, what="every webhook arrived", seconds=_ARRIVAL_SECONDS)
        seconds = time.monotonic() - begin
    after, arrivals = receiver.counts(), receiver.arrivals()
    # An answer may be read a moment after its webhook has arrived.
    latencies = sorted(max(0.0, arrivals[pk] - moment) for pk, moment in accepted.items() if pk in arrivals)
    return Sample(
        seconds=seconds,
        accepted=len(accepted),
        found=len(latencies),
        unexpected=after.requests - after.ids,
        p50=percentile(latencies, 0.50),
        p95=percentile(latencies, 0.95),
        p99=percentile(latencies, 0.99),
        generator="receiver",
        generator_cpu=(after.cpu_seconds - before.cpu_seconds) / seconds,
        peak_mebibytes=memory.mebibytes,
    )


def warm_up(server: WebServer, receiver: Receiver, *, api_key: str) -> None:
    """Send a few events, so that every process on the way has opened its connections."""
    measured_journeys(server, receiver, api_key=api_key, events=_WARM_UP_EVENTS, rate=_WARM_UP_RATE)


async def _send(port: int, api_key: str, events: int, rate: float) -> dict[str, float]:
    """The id of each accepted event → when its 202 had arrived, by time.monotonic."""
    connection = Connection(HOST, port)
    requests = requests_of(Stream(kind=Kind.PLAIN, api_keys=(api_key,), tag=new_tag()), "0")
    accepted: dict[str, float] = {}
    begin = time.monotonic()
    for number in range(events):
        await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
        answer = await connection.exchange(next(requests).data)
        if answer.status not in STATUSES[Outcome.ACCEPTED]:
            raise UpError(f"An event was answered {answer.status}: {answer.body[:500]!r}")
        accepted[json.loads(answer.body)["id"]] = time.monotonic()
    connection.close()
    return accepted
