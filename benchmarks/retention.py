"""What retention costs the intake: weeks of old events and deliveries are dropped while events are taken in."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from statistics import median

from benchmarks.lab import running_lab
from benchmarks.load import Load, run_load
from benchmarks.machine import machine_facts
from benchmarks.options import Options
from benchmarks.platform_weeks import OLDEST_DAYS
from benchmarks.progress import Progress
from benchmarks.report import Report
from benchmarks.rows import Measure, Row
from benchmarks.samples import Sample
from benchmarks.servers import WebServer
from benchmarks.streams import Kind, Stream
from benchmarks.targets import Target, Tenant, new_tag, prepared_platform
from benchmarks.wrk import run_wrk, wrk_can

TITLE = "Retention: old weeks are dropped while events are taken in"
CLIENTS = 32
TENANTS = 200
# Of each round.
WEEKS = 4
# The process that drops loads the platform first.
_START_SECONDS = 8.0
_WARM_UP_SECONDS = 2.0


def run_retention(options: Options, progress: Progress) -> Report:
    """`rounds` times: the intake alone, then beside drops of WEEKS weeks of each table; `events` old ones in all."""
    facts = machine_facts(options)
    weeks = WEEKS * options.rounds
    progress.say(f"Starting the servers; making {options.events:,} old events in {weeks} weeks, and their deliveries")
    with ExitStack() as stack:
        lab = stack.enter_context(running_lab())
        target = prepared_platform(lab)
        key, *_ = target.make_tenants([Tenant(name=f"tenant-{number}") for number in range(TENANTS)])
        target.run("benchmarks.platform_weeks", {"make": {"events": options.events, "weeks": weeks}})
        target.tidy()
        server = stack.enter_context(target.served())
        bench = _Bench(target, server, key, options)
        bench.measure(_WARM_UP_SECONDS)
        progress.expect(2 * options.rounds * (options.seconds + _START_SECONDS))
        row = Row(
            group=TITLE,
            name=f"single events beside {options.events:,} old ones in {weeks} weeks".replace(",", " "),
            clients=CLIENTS,
            ours=Measure(label="while weeks are dropped"),
            reference=Measure(label="before"),
        )
        drops = [took for _ in range(options.rounds) for took in _round(bench, row, progress)]
    row.note = _told(drops, expected=2 * weeks)
    return Report(name="retention", title=TITLE, facts=facts, rows=[row])


def _round(bench: "_Bench", row: Row, progress: Progress) -> Iterator[float]:
    """The seconds of each drop."""
    seconds = bench.options.seconds
    row.reference.samples.append(bench.measure(seconds))
    with ThreadPoolExecutor(1) as pool:
        begin_at = time.time() + _START_SECONDS
        dropping: Future[dict[str, float]] = pool.submit(bench.drop, begin_at, seconds)
        time.sleep(max(0.0, begin_at - time.time()))
        row.ours.samples.append(bench.measure(seconds))
        took = dropping.result()
    for sample, label in ((row.reference.samples[-1], "before"), (row.ours.samples[-1], "while weeks are dropped")):
        progress.measured(f"{label}: {sample.rate:,.0f}/s, p99 {sample.p99:.1f} ms", seconds=seconds + _START_SECONDS)
    yield from took.values()


def _told(drops: list[float], *, expected: int) -> str:
    if not drops:
        return "NOTHING WAS DROPPED"
    left = f"; {expected - len(drops)} WERE NOT DROPPED" if len(drops) < expected else ""
    return f"{len(drops)} partitions dropped, median {median(drops):.3f} s, longest {max(drops):.3f} s each{left}"


class _Bench:
    """One server on a database with old weeks, which is not emptied between the measurements."""

    def __init__(self, target: Target, server: WebServer, key: str, options: Options) -> None:
        self.options = options
        self._target, self._server, self._key = target, server, key

    def measure(self, seconds: float) -> Sample:
        """Load, and count what it left; the counted events are all younger than any old week."""
        before = self._count()
        stream = Stream(kind=Kind.PLAIN, api_keys=(self._key,), tag=new_tag())
        load = Load(stream=stream, clients=CLIENTS, seconds=seconds)
        with self._server.memory_watched() as peak:
            if self.options.generator != "python" and wrk_can(load):
                sample = run_wrk(load, port=self._server.port)
            else:
                sample = run_load(load, port=self._server.port, processes=self.options.processes)
        sample.peak_mebibytes = peak.mebibytes
        sample.found = self._settled() - before
        return sample

    def drop(self, begin_at: float, seconds: float) -> dict[str, float]:
        wanted = {"weeks": WEEKS, "begin_at": begin_at, "seconds": seconds}
        took: dict[str, float] = json.loads(self._target.run("benchmarks.platform_weeks", {"drop": wanted}))
        return took

    def _settled(self) -> int:
        """Once nothing is written any more."""
        count = self._count()
        while True:
            time.sleep(0.5)
            before, count = count, self._count()
            if count == before:
                return count

    def _count(self) -> int:
        since = time.time() - OLDEST_DAYS * 24 * 3600
        first = f"{int(since * 1000):012x}".ljust(32, "0")
        with self._target.connected() as connection:
            row = connection.execute("SELECT count(*) FROM ingestion_event WHERE id >= %s::uuid", [first]).fetchone()
        assert row is not None
        return int(row[0])
