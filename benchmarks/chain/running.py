"""The whole chain as `make run` starts it: events offered to the web server, until each has arrived at its webhooks.

What an event costs is told beside how many there are: CPU time by program, bytes of WAL and of rows. So a machine that
is busy with something else changes little of what is compared.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from benchmarks.chain.consumer import consuming
from benchmarks.chain.product import Product, whole_product
from benchmarks.chain.report import ChainReport, ChainRow, Passage
from benchmarks.comparing import facts_of
from benchmarks.lab import empty_lab
from benchmarks.load import Load, run_load
from benchmarks.options import Options
from benchmarks.progress import Progress
from benchmarks.receiver import Receiver, receiving
from benchmarks.samples import percentile
from benchmarks.soak import ALL_DONE, TABLE_SIZES
from benchmarks.streams import Kind, Stream
from benchmarks.targets import OUR_TABLES, new_tag
from benchmarks.workers import wait_until

_RATES = (500.0, 1000.0, 2000.0, 4000.0)
_WARM_UP_SECONDS = 3.0
_DRAIN_SECONDS = 600.0
# What programs write a moment after the last record, such as statistics, belongs to it.
_AFTER_SECONDS = 0.5
_RECEIVED_AT: LiteralString = "SELECT id::text, extract(epoch FROM received_at)::float8 FROM ingestion_event"
_DELIVERED: LiteralString = """
SELECT count(*) FROM delivery_delivery WHERE status = 'delivered'
AND subscription_id IN (SELECT id FROM delivery_subscription WHERE kind = 'webhook')
"""
_WAL: LiteralString = "SELECT pg_current_wal_insert_lsn() - '0/0'"


def rows_of_chain() -> list[ChainRow]:
    """Fixed rates with one webhook, then what is taken as fast as it goes: of one client, and with none to three."""
    return [
        *(ChainRow(name=f"{rate:g}/s, 1 webhook", rate=rate, webhooks=1) for rate in _RATES),
        ChainRow(name="1 client, 0 webhooks", rate=0.0, webhooks=0, clients=1),
        *(ChainRow(name=f"saturated, {number} webhooks", rate=0.0, webhooks=number) for number in (0, 1, 3)),
        ChainRow(name="1000/s, 1 webhook, beside an old snapshot", rate=1000.0, webhooks=1, snapshot=True),
        # The last one: from then on the inbox is awake.
        ChainRow(name="saturated, 1 webhook and an inbox consumer", rate=0.0, webhooks=1, consumed=True),
    ]


def run_chain(options: Options, progress: Progress) -> ChainReport:
    """Measure the rows that `--rows` names; higher rates than the first one that is not sustained are left out."""
    facts = facts_of(options)
    wanted = [row for row in rows_of_chain() if options.rows in row.name]
    progress.say("Starting a receiver and the whole platform")
    settings = {"WEBHOOK_ALLOW_HTTP": "true", "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.1/32"}
    with empty_lab() as lab, receiving(lab) as receiver, whole_product(lab, settings) as product:
        scene = _Scene(product=product, receiver=receiver)
        progress.expect(len(wanted) * options.rounds * options.seconds)
        measured: list[ChainRow] = []
        for row in wanted:
            if row.rate and any(0 < other.rate < row.rate and not other.is_sustained for other in measured):
                continue
            with product.with_webhooks([f"{receiver.url}/ok"] * row.webhooks):
                scene.send(row.rate or 200.0, _WARM_UP_SECONDS, clients=row.clients)
                scene.wait_until_done()
                row.passages += [scene.passage(row, options.seconds) for _ in range(options.rounds)]
            measured.append(row)
            told = f"{row.name}: {row.median_of(lambda one: one.delivered_rate):,.0f} delivered/s"
            progress.measured(told, seconds=options.seconds * options.rounds)
    return ChainReport(facts=facts, rows=measured)


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """The running platform, and the receiver of its webhooks."""

    product: Product
    receiver: Receiver

    def send(self, rate: float, seconds: float, *, clients: int) -> Any:
        stream = Stream(kind=Kind.PLAIN, api_keys=(self.product.api_key,), tag=new_tag())
        load = Load(stream=stream, clients=clients, seconds=seconds, rate=rate)
        return run_load(load, port=self.product.port, processes=1)

    def wait_until_done(self) -> None:
        with self.product.connected() as connection:
            wait_until(lambda: bool(_one(connection, ALL_DONE)), what="all was delivered", seconds=_DRAIN_SECONDS)

    def passage(self, row: ChainRow, seconds: float) -> Passage:
        self.product.empty()
        self.receiver.forget()
        with self.product.connected() as connection, _consumed(self.product, row) as consumer, _held(self.product, row):
            cpu, wal, begin = self.product.cpu_seconds(), _one(connection, _WAL), time.monotonic()
            load = self.send(row.rate, seconds, clients=row.clients)
            self.wait_until_done()
            if consumer is not None:
                wait_until(lambda: consumer.taken >= load.accepted, what="the inbox was empty", seconds=_DRAIN_SECONDS)
            took = time.monotonic() - begin
            time.sleep(_AFTER_SECONDS)
            stored, latencies = self._latencies(connection)
            used = self.product.cpu_seconds()
            counts = self.receiver.counts()
            return Passage(
                load=load,
                seconds=took,
                stored=stored,
                delivered=_one(connection, _DELIVERED),
                received=counts.requests,
                ids=counts.ids,
                consumed=consumer.taken if consumer else 0,
                p50=percentile(latencies, 0.50),
                p99=percentile(latencies, 0.99),
                cpu={name: (total - cpu.get(name, 0.0)) / stored * 1e6 for name, total in used.items()},
                disk={
                    name: size / stored
                    for name, size in connection.execute(TABLE_SIZES).fetchall()
                    if name in OUR_TABLES
                },
                wal=float(_one(connection, _WAL) - wal) / stored,
            )

    def _latencies(self, connection: psycopg.Connection) -> tuple[int, list[float]]:
        """How many events there are; and the seconds from acceptance to receipt of those that were received."""
        # The receiver's times are of another clock of the same machine.
        offset = time.time() - time.monotonic()
        arrivals = self.receiver.arrivals()
        events = connection.execute(_RECEIVED_AT).fetchall()
        return len(events), sorted(arrivals[pk] + offset - moment for pk, moment in events if pk in arrivals)


@contextmanager
def _held(product: Product, row: ChainRow) -> Iterator[None]:
    """An old snapshot while the block runs: no dead row that is younger can be removed."""
    if not row.snapshot:
        yield
        return
    with psycopg.connect(product.database) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT set_config('idle_in_transaction_session_timeout', '0', false)")
        yield


def _consumed(product: Product, row: ChainRow) -> Any:
    return consuming(product) if row.consumed else nullcontext()


def _one(connection: psycopg.Connection, statement: LiteralString) -> Any:
    row = connection.execute(statement).fetchone()
    assert row is not None
    return row[0]
