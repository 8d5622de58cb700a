"""What a soak tells: a line for each part of the hour, what grew, and whether the promises held."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from benchmarks.report import machine_line, write_texts
from benchmarks.samples import Sample

T = TypeVar("T")

# What events leave behind until retention takes it.
KEPT = frozenset({"ingestion_event", "delivery_delivery", "delivery_attempt"})
# Growth from the second to the last twelfth of the hour. The first one fills caches and pools.
_PARTS = 12
_FLAT_MEMORY, _FLAT_MEBIBYTES = 1.10, 8.0
_FLAT_TABLE, _FLAT_TABLE_MEBIBYTES = 1.25, 4.0
_LAG_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One look. `memory`: MiB of the largest process by program; ages in seconds; `tables`: MiB by table."""

    seconds: float
    memory: Mapping[str, float]
    outbox_age: float
    due_age: float
    tables: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Soak:
    """`peak` events a second; a sample for each minute; `found` events, `delivered` webhooks at the first attempt."""

    peak: float
    samples: Sequence[Sample]
    moments: Sequence[Moment]
    found: int
    delivered: int

    @property
    def accepted(self) -> int:
        return sum(sample.accepted for sample in self.samples)

    @property
    def errors(self) -> int:
        return sum(sample.errors for sample in self.samples)

    def growth(self, value: Callable[[Moment], float]) -> tuple[float, float]:
        """Medians of the second and of the last part."""
        parts = _split(self.moments)
        return median(map(value, parts[min(1, len(parts) - 1)])), median(map(value, parts[-1]))

    def swollen_programs(self) -> list[str]:
        """Programs whose memory did not stay flat."""
        return [
            name for name in self.moments[-1].memory
            if _grew(*self.growth(lambda moment: moment.memory[name]), _FLAT_MEMORY, _FLAT_MEBIBYTES)  # noqa: B023
        ]  # fmt: skip

    def growing_tables(self) -> list[str]:
        """Tables that grew, other than those that hold events and their deliveries."""
        return [
            name for name in self.moments[-1].tables
            if name not in KEPT
            and _grew(
                *self.growth(lambda moment: moment.tables.get(name, 0.0)), _FLAT_TABLE, _FLAT_TABLE_MEBIBYTES  # noqa: B023
            )
        ]  # fmt: skip

    def lag(self) -> tuple[float, float]:
        """Median and greatest age of the oldest unprocessed event, in seconds."""
        ages = [moment.outbox_age for moment in self.moments]
        return median(ages), max(ages)


@dataclass(frozen=True, kw_only=True)
class SoakReport:
    """`facts` tell the machine and the versions."""

    facts: dict[str, Any]
    soak: Soak
    name: str = "soak"
    title: str = "Soak: steady load on the whole platform"

    @property
    def accounts_hold(self) -> bool:
        """Was every accepted event found and delivered, with flat memory, no growing table, and little lag?"""
        soak = self.soak
        flat = not soak.swollen_programs() and not soak.growing_tables() and soak.lag()[1] < _LAG_SECONDS
        return flat and not soak.errors and soak.accepted == soak.found == soak.delivered

    def facts_line(self) -> str:
        half, peak = (f"{rate:,.0f}".replace(",", " ") for rate in (self.soak.peak / 2, self.soak.peak))
        minutes = len(self.soak.samples)
        return f"{machine_line(self.facts)} · {minutes} minutes at {half} events/s, half of the peak of {peak}"

    def markdown(self) -> str:
        return "\n\n".join([self._table(), self._tables(), self._verdict()])

    def write(self, folder: Path) -> list[Path]:
        body = {"name": self.name, "title": self.title, "facts": self.facts, "soak": asdict(self.soak)}
        texts = {"json": json.dumps(body), "md": f"{self.facts_line()}\n\n{self.markdown()}"}
        return write_texts(folder, self.name, texts)

    def _table(self) -> str:
        programs = list(self.soak.moments[-1].memory)
        head = ["minutes", "events/s", "p50 ms", "p99 ms", "outbox s", *(f"{name} MiB" for name in programs)]
        lines = [_line(head), _line("-" * (len(text) - 1) + ":" for text in head)]
        begin = 0
        for samples, moments in zip(_split(self.soak.samples), _split(self.soak.moments), strict=False):
            end = begin + len(samples)
            memory = (f"{median(moment.memory[name] for moment in moments):.0f}" for name in programs)
            lag = f"{max(moment.outbox_age for moment in moments):.2f}"
            rate, p50, p99 = (median(getattr(one, key) for one in samples) for key in ("rate", "p50", "p99"))
            lines.append(_line([f"{begin + 1}–{end}", f"{rate:.0f}", f"{p50:.1f}", f"{p99:.1f}", lag, *memory]))
            begin = end
        return "\n".join(lines)

    def _tables(self) -> str:
        lines = [_line(["table", "MiB after a twelfth", "MiB at the end"]), _line(["---", "--:", "--:"])]
        for name in sorted(self.soak.moments[-1].tables):
            early, late = self.soak.growth(lambda moment: moment.tables.get(name, 0.0))  # noqa: B023
            if late >= 1:
                lines.append(_line([f"`{name}`", f"{early:.1f}", f"{late:.1f}"]))
        return "\n".join(lines)

    def _verdict(self) -> str:
        soak = self.soak
        usual, greatest = soak.lag()
        accepted, found, delivered = (
            f"{count:,}".replace(",", " ") for count in (soak.accepted, soak.found, soak.delivered)
        )
        parts = [
            f"Accepted {accepted}, found {found}, delivered at the first attempt {delivered}; {soak.errors} errors.",
            f"Oldest unprocessed event: {usual:.2f} s usually, {greatest:.2f} s at most.",
            f"Memory grew in: {', '.join(soak.swollen_programs()) or 'no program'}.",
            f"Tables that grew beside events, deliveries and attempts: {', '.join(soak.growing_tables()) or 'none'}.",
        ]
        return " ".join(parts)


def _grew(early: float, late: float, ratio: float, least: float) -> bool:
    """Both by share and by amount: a small thing doubles easily, a big one wavers."""
    return late > early * ratio and late - early > least


def _split(items: Sequence[T]) -> list[Sequence[T]]:
    parts = min(_PARTS, len(items))
    edges = [round(index * len(items) / parts) for index in range(parts + 1)]
    return [items[begin:end] for begin, end in pairwise(edges)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
