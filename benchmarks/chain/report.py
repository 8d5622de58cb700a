"""What the benchmark of the chain tells: events a second, how soon they arrive, and what each costs."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import machine_line, write_texts
from benchmarks.samples import Sample

# An event that needs longer to its webhook has waited behind others.
SUSTAINED_MILLISECONDS = 1000.0
_SUSTAINED_SHARE = 0.99
_PACE = ("row", "accepted/s", "delivered/s", "answer p50 ms", "p99 ms", "received p50 ms", "p99 ms", "WAL bytes")


@dataclass(frozen=True, kw_only=True)
class Passage:
    """One load and what became of it.

    `seconds` last from the first request to the last record; `received`: webhooks that arrived, of `ids` different
    events. Latencies are milliseconds from an event's acceptance to the first of its webhooks. `cpu` is in µs by
    program, `disk` in bytes by table, `wal` in bytes, each for an event.
    """

    load: Sample
    seconds: float
    stored: int
    delivered: int
    received: int
    ids: int
    consumed: int
    p50: float
    p99: float
    cpu: Mapping[str, float]
    disk: Mapping[str, float]
    wal: float

    @property
    def accepted_rate(self) -> float:
        return self.load.rate

    @property
    def delivered_rate(self) -> float:
        """Webhooks a second from the first request to the last record."""
        return self.delivered / self.seconds


@dataclass(kw_only=True)
class ChainRow:
    """`rate` events a second are offered by `clients` at once, or as many as are answered when it is 0."""

    name: str
    rate: float
    webhooks: int
    clients: int = 32
    consumed: bool = False
    snapshot: bool = False
    passages: list[Passage] = field(default_factory=list)

    def faults(self) -> list[str]:
        """What differs from accepted = stored = delivered."""
        found = []
        for one in self.passages:
            accepted, stored = one.load.accepted, one.stored
            if one.load.errors:
                found.append(f"{one.load.errors} requests failed")
            if not accepted <= stored <= accepted + one.load.unread:
                found.append(f"{accepted} accepted, {stored} stored")
            wanted = stored * self.webhooks
            if (one.delivered, one.received) != (wanted, wanted):
                found.append(f"{wanted} webhooks due, {one.delivered} delivered, {one.received} received")
            if self.webhooks and one.ids != stored:
                found.append(f"{stored} stored, {one.ids} of them received")
            if self.consumed and one.consumed != stored:
                found.append(f"{stored} stored, {one.consumed} consumed")
        return found

    @property
    def is_sustained(self) -> bool:
        """Whether what was offered was taken, and nothing waited."""
        rate = self.median_of(lambda one: one.accepted_rate)
        return rate >= self.rate * _SUSTAINED_SHARE and self.median_of(lambda one: one.p99) <= SUSTAINED_MILLISECONDS

    def median_of(self, value: Callable[[Passage], float]) -> float:
        return median(map(value, self.passages))


@dataclass(frozen=True, kw_only=True)
class ChainReport:
    """`facts` tell the machine and the versions."""

    facts: dict[str, Any]
    rows: Sequence[ChainRow]
    name: str = "chain"
    title: str = "The whole chain: accepted, stored, fanned out, received and recorded"

    @property
    def accounts_hold(self) -> bool:
        """Was each accepted event stored, and delivered once to each webhook, in every row?"""
        return not any(row.faults() for row in self.rows)

    def facts_line(self) -> str:
        return f"{machine_line(self.facts)} · {self.facts['rounds']} × {self.facts['seconds']:g} s for each row"

    def markdown(self) -> str:
        return "\n\n".join([
            _table(_PACE, map(_pace, self.rows)),
            "CPU, µs for an event, by program:",
            _by_name(self.rows, lambda one: one.cpu),
            "Bytes on the disk for an event, by table with its indexes:",
            _by_name(self.rows, lambda one: one.disk),
            self._verdict(),
        ])  # fmt: skip

    def write(self, folder: Path) -> list[Path]:
        rows = [asdict(row) for row in self.rows]
        body = {"name": self.name, "title": self.title, "facts": self.facts, "rows": rows}
        texts = {"json": json.dumps(body, indent=1), "md": f"{self.facts_line()}\n\n{self.markdown()}"}
        return write_texts(folder, self.name, texts)

    def _verdict(self) -> str:
        sustained = [row.rate for row in self.rows if row.rate and row.is_sustained]
        parts = [
            f"Sustained: {max(sustained):g} events/s, with 99 % at their webhook within"
            f" {SUSTAINED_MILLISECONDS / 1000:g} s."
            if sustained
            else "No rate of these is sustained.",
            *(f"{row.name.upper()}: {fault}." for row in self.rows for fault in row.faults()),
        ]
        return " ".join([*parts, "accepted = stored = delivered in every row." if self.accounts_hold else ""]).strip()


def _pace(row: ChainRow) -> list[str]:
    values: list[Callable[[Passage], float]] = [
        lambda one: one.accepted_rate,
        lambda one: one.delivered_rate,
        lambda one: one.load.p50,
        lambda one: one.load.p99,
        lambda one: one.p50,
        lambda one: one.p99,
        lambda one: one.wal,
    ]
    numbers = [row.median_of(value) for value in values]
    return [row.name, *(f"{number:.0f}" if number >= 100 else f"{number:.1f}" for number in numbers)]


def _by_name(rows: Sequence[ChainRow], values: Callable[[Passage], Mapping[str, float]]) -> str:
    names = list(dict.fromkeys(name for row in rows for one in row.passages for name in values(one)))
    lines = []
    for row in rows:
        medians = [row.median_of(lambda one: values(one).get(name, 0.0)) for name in names]  # noqa: B023
        lines.append([row.name, *(f"{number:.0f}" for number in medians), f"{sum(medians):.0f}"])
    return _table(["row", *names, "all"], lines)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---", *("--:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))
