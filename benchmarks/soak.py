"""An hour of steady load on the whole platform: does memory stay flat, do only events grow, does processing keep up?

First the load that the whole chain can take is found: clients send as fast as they are answered, and what arrives at
the webhooks meanwhile is the peak. Then half of it is sent at a fixed rate, and all that runs is watched.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from benchmarks.backlogs import make_webhook
from benchmarks.comparing import LOOPBACK, facts_of
from benchmarks.journeys import warm_up
from benchmarks.lab import running_lab
from benchmarks.load import Load, run_load
from benchmarks.options import Options
from benchmarks.progress import Progress
from benchmarks.receiver import Receiver, receiving
from benchmarks.samples import Sample
from benchmarks.servers import largest_mebibytes
from benchmarks.soak_report import Moment, Soak, SoakReport
from benchmarks.streams import Kind, Stream
from benchmarks.systems import Platform, whole_platform
from benchmarks.targets import Target, Tenant, new_tag, prepared_platform
from benchmarks.workers import wait_until

_TENANTS = 10
_CLIENTS = 32
_PEAK_SECONDS = 30.0
# Load comes in pieces of a minute: each has its own latencies, and its counts need not be kept for an hour.
_PIECE_SECONDS = 60.0
_WATCH_SECONDS = 5.0
_DRAIN_SECONDS = 600.0
_MEBIBYTE = 1024 * 1024
_OUTBOX_AGE: LiteralString = (
    "SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 FROM ingestion_outboxentry"
)
# Of each webhook by the index; inboxes hold what nobody takes here.
_DUE_AGE: LiteralString = """
SELECT coalesce(extract(epoch FROM now() - min(due.oldest)), 0)::float8
FROM delivery_subscription AS subscription CROSS JOIN LATERAL (
    SELECT min(next_attempt_at) AS oldest FROM delivery_delivery
    WHERE subscription_id = subscription.id AND next_attempt_at <= now()
) AS due
WHERE subscription.kind = 'webhook'
"""
TABLE_SIZES: LiteralString = """
SELECT coalesce(parent.relname, child.relname), sum(pg_total_relation_size(child.oid))::int8
FROM pg_class AS child
LEFT JOIN pg_inherits ON inhrelid = child.oid LEFT JOIN pg_class AS parent ON parent.oid = inhparent
WHERE child.relkind = 'r' AND child.relnamespace = 'public'::regnamespace GROUP BY 1
"""
_DELIVERED_ONCE: LiteralString = """
SELECT count(*) FROM delivery_delivery AS delivery JOIN delivery_subscription AS subscription
    ON subscription.id = delivery.subscription_id
WHERE subscription.kind = 'webhook' AND delivery.status = 'delivered' AND delivery.attempts = 1
"""
ALL_DONE: LiteralString = """
SELECT NOT EXISTS (SELECT FROM ingestion_outboxentry)
   AND NOT EXISTS (
       SELECT FROM delivery_delivery WHERE next_attempt_at IS NOT NULL
       AND subscription_id IN (SELECT id FROM delivery_subscription WHERE kind = 'webhook')
   )
"""


def run_soak(options: Options, progress: Progress) -> SoakReport:
    """Find the peak, then soak for `options.minutes` at half of it."""
    facts = facts_of(options)
    progress.say("Starting PostgreSQL, Valkey, a receiver and the whole platform")
    with running_lab() as lab, receiving(lab) as receiver:
        ours = prepared_platform(lab, **LOOPBACK)
        names = [f"tenant-{number}" for number in range(_TENANTS)]
        keys = tuple(ours.make_tenants([Tenant(name=name) for name in names]))
        for name in names:
            make_webhook(ours, organization=name, url=f"{receiver.url}/ok")
        with whole_platform(lab, ours) as platform:
            warm_up(platform.server, receiver, api_key=keys[0])
            scene = _Scene(target=ours, platform=platform, receiver=receiver, keys=keys)
            peak = scene.peak()
            progress.say(f"The whole chain takes {peak:,.0f} events/s; soaking at half of it")
            ours.empty(keep_queues=True)
            pieces = max(1, round(options.minutes * 60 / _PIECE_SECONDS))
            return SoakReport(facts=facts, soak=_soaked(scene, peak, pieces, progress))


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """The running platform, and the receiver of its webhooks."""

    target: Target
    platform: Platform
    receiver: Receiver
    keys: tuple[str, ...]

    def peak(self) -> float:
        """Webhooks a second that arrive while clients send as fast as they are answered, once that has settled."""
        flood = threading.Thread(target=self.send, kwargs={"seconds": _PEAK_SECONDS, "rate": 0.0})
        flood.start()
        time.sleep(_PEAK_SECONDS / 3)
        before, begin = self.receiver.counts().requests, time.monotonic()
        flood.join()
        rate = (self.receiver.counts().requests - before) / (time.monotonic() - begin)
        self.wait_until_done()
        return rate

    def send(self, *, seconds: float, rate: float) -> Sample:
        stream = Stream(kind=Kind.PLAIN, api_keys=self.keys, tag=new_tag())
        load = Load(stream=stream, clients=_CLIENTS, seconds=seconds, rate=rate)
        return run_load(load, port=self.platform.server.port, processes=1)

    def wait_until_done(self) -> None:
        with self.target.connected() as connection:
            wait_until(lambda: bool(_one(connection, ALL_DONE)), what="all was delivered", seconds=_DRAIN_SECONDS)


def _soaked(scene: _Scene, peak: float, pieces: int, progress: Progress) -> Soak:
    progress.expect(pieces * _PIECE_SECONDS)
    samples = []
    with _Watch(scene.target, scene.platform.pids) as watch:
        for number in range(pieces):
            scene.receiver.forget()
            sample = scene.send(seconds=_PIECE_SECONDS, rate=peak / 2)
            samples.append(sample)
            told = f"minute {number + 1}: {sample.rate:,.0f}/s, p99 {sample.p99:.1f} ms, {watch.told()}"
            progress.measured(told, seconds=_PIECE_SECONDS)
    scene.wait_until_done()
    with scene.target.connected() as connection:
        delivered = _one(connection, _DELIVERED_ONCE)
    found = scene.target.settled_count()
    return Soak(peak=peak, samples=samples, moments=watch.moments, found=found, delivered=delivered)


class _Watch:
    """Looks at processes and tables every few seconds, in a thread."""

    def __init__(self, target: Target, programs: Mapping[str, int]) -> None:
        self.moments: list[Moment] = []
        self._target = target
        self._programs = programs
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def told(self) -> str:
        last = self.moments[-1]
        memory = ", ".join(f"{name} {mebibytes:.0f}" for name, mebibytes in last.memory.items())
        return f"outbox {last.outbox_age:.2f} s, MiB: {memory}"

    def _watch(self) -> None:
        begin = time.monotonic()
        with self._target.connected() as connection:
            while not self._ended.wait(_WATCH_SECONDS):
                self.moments.append(self._moment(connection, time.monotonic() - begin))

    def _moment(self, connection: psycopg.Connection, seconds: float) -> Moment:
        return Moment(
            seconds=seconds,
            memory={name: largest_mebibytes(pid) for name, pid in self._programs.items()},
            outbox_age=_one(connection, _OUTBOX_AGE),
            due_age=_one(connection, _DUE_AGE),
            tables={name: size / _MEBIBYTE for name, size in connection.execute(TABLE_SIZES).fetchall()},
        )


def _one(connection: psycopg.Connection, statement: LiteralString) -> Any:
    row = connection.execute(statement).fetchone()
    assert row is not None
    return row[0]
