"""What the attacks cost: a line for each, beside the quiet stretches of the same minutes, and what is over a bound."""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.hostile.bystander import READS, SENDS, Deed
from benchmarks.hostile.footprint import Footprint
from benchmarks.report import machine_line, write_texts
from benchmarks.samples import percentile
from installation.local.data_dir import CHECKOUT

PAGE = CHECKOUT / "docs/security.md"
BEGIN = "<!-- table: written by `python -m benchmarks --only hostile --publish` -->"
END = "<!-- end of the table -->"
WEB_MEBIBYTES = 200.0
# What the web processes may have of bodies on the disk, all together.
FILE_MEBIBYTES = 64.0
PROGRAMS = ("web", "worker", "sender", "beat")
# How often chance is asked, and of how many consecutive requests.
_DRAWS = 200
_BLOCK = 8
_HEAD = (
    "attack", *(f"{deed} p99, ms" for deed in Deed), "errors", "web MiB", "worker MiB", "sender MiB", "beat MiB",
    "web CPU", "over",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Some seconds of the other tenant's life. `latencies`: seconds by deed, in order; `errors` by what happened."""

    latencies: dict[Deed, list[float]]
    errors: dict[str, int]
    footprint: Footprint

    def p99(self, deed: Deed) -> float:
        """In milliseconds; 0 when nothing was measured."""
        return _p99(self.latencies[deed])


@dataclass(kw_only=True)
class AttackRow:
    """An attack: equally many attacked and quiet stretches, each pair one right after the other.

    `bound` is that of the ratios, if they have one. `outcomes` counts the outcomes of the attack's requests; `never`
    are those that must not occur. `ended` are programs of which a process exited. `note` says why something is missing.
    """

    name: str
    bound: float | None
    never: str = ""
    quiet: list[Stretch] = field(default_factory=list)
    attacked: list[Stretch] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    note: str = ""

    def p99(self, deed: Deed) -> float:
        """Beside the attack, of all stretches together."""
        return _p99(chain(*_blocks(self.attacked, deed)))

    def ratio(self, deed: Deed) -> float | None:
        """Of the p99 beside the attack to the quiet one, each of all its stretches together."""
        quiet = _p99(chain(*_blocks(self.quiet, deed)))
        return self.p99(deed) / quiet if quiet and self.attacked else None

    def interval(self, deed: Deed) -> tuple[float, float]:
        """Between which two the ratio would lie nine times of ten, were all of it measured again.

        By the bootstrap: of both sides as many blocks as there are, drawn again and again, some of them repeatedly.
        """
        chance = random.Random(0)
        sides = [_blocks(self.attacked, deed), _blocks(self.quiet, deed)]
        found = []
        for _ in range(_DRAWS):
            beside, quiet = (_p99(chain(*chance.choices(side, k=len(side)))) if side else 0.0 for side in sides)
            found.append(beside / quiet if quiet else 0.0)
        found.sort()
        return found[_DRAWS // 20], found[-_DRAWS // 20]

    @property
    def is_settled(self) -> bool:
        """Whether every ratio is so clearly on one side of the bound that measuring again would say the same."""
        bound = self.bound
        return bound is None or not any(low <= bound <= high for low, high in map(self.interval, Deed))

    def memory(self, program: str) -> tuple[float, float]:
        """The most that a process of it had in the first quiet stretch, and beside the attack."""
        beside = max((stretch.footprint.memory.get(program, 0.0) for stretch in self.attacked), default=0.0)
        return (self.quiet[0].footprint.memory.get(program, 0.0) if self.quiet else 0.0), beside

    def cores(self) -> tuple[float, float]:
        """CPU seconds a second of the web processes, quiet and beside the attack."""
        sides = (self.quiet, self.attacked)
        quiet, beside = (median([one.footprint.cores["web"] for one in side] or [0.0]) for side in sides)
        return quiet, beside

    @property
    def errors(self) -> int:
        return sum(count for stretch in self.attacked for count in stretch.errors.values())

    @property
    def over(self) -> list[str]:
        """What is beyond its bound."""
        found = [str(deed) for deed in Deed if self.bound is not None and (self.ratio(deed) or 0.0) > self.bound]
        if self.errors:
            found.append("errors")
        if self.memory("web")[1] > WEB_MEBIBYTES:
            found.append("memory")
        if any(stretch.footprint.files > FILE_MEBIBYTES for stretch in self.attacked):
            found.append("files")
        found += [f"{program} ended" for program in self.ended]
        if unwanted := self.outcomes.get(self.never):
            found.append(f"{unwanted} × {self.never}")
        return [*found, *filter(None, [self.note])]


@dataclass(frozen=True, kw_only=True)
class HostileReport:
    """`facts` tell the machine and the versions. `is_whole`: no attack was left out."""

    facts: dict[str, Any]
    rows: Sequence[AttackRow]
    is_whole: bool
    name: str = "hostile"
    title: str = "Attacks: what they cost another tenant, and the platform's processes"

    @property
    def accounts_hold(self) -> bool:
        """Was nothing beyond its bound, beside every attack?"""
        return bool(self.rows) and not any(row.over for row in self.rows)

    def facts_line(self) -> str:
        rounds, seconds = self.facts["rounds"], self.facts["seconds"]
        return (
            f"{machine_line(self.facts)} · {rounds} × {seconds:g} s beside each attack, as many without it, and more "
            "where a ratio was near its bound"
        )

    def markdown(self) -> str:
        """What ran, the table, and the rows that are over."""
        over = [row.name for row in self.rows if row.over]
        verdict = f"**Over a bound: {'; '.join(over)}.**" if over else "No row is over a bound."
        return "\n\n".join([_scene(), table(self.rows), verdict])

    def write(self, folder: Path) -> list[Path]:
        """Write `hostile.json` and `hostile.md`; returns their paths."""
        rows = [_as_json(row) for row in self.rows]
        body = {"name": self.name, "title": self.title, "facts": self.facts, "rows": rows}
        texts = {"json": json.dumps(body, indent=1), "md": f"{self.facts_line()}\n\n{self.markdown()}"}
        return write_texts(folder, self.name, texts)


@dataclass(frozen=True, kw_only=True)
class PublishedReport(HostileReport):
    """The same, which also puts what it tells into docs/security.md."""

    page: Path = PAGE

    def write(self, folder: Path) -> list[Path]:
        written = super().write(folder)
        if not self.is_whole:
            return written
        before, _, rest = self.page.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        told = f"{self.facts_line()}\n\n{self.markdown()}"
        self.page.write_text(f"{before}{BEGIN}\n\n{told}\n\n{END}{after}")
        return [*written, self.page]


def _p99(latencies: Iterable[float]) -> float:
    return percentile(sorted(latencies), 0.99)


def _blocks(stretches: Sequence[Stretch], deed: Deed) -> list[list[float]]:
    """All latencies, some consecutive ones in each block: these share their fate, and so count as one observation."""
    found = [stretch.latencies[deed] for stretch in stretches]
    return [one[at : at + _BLOCK] for one in found for at in range(0, len(one), _BLOCK)]


def _as_json(row: AttackRow) -> dict[str, Any]:
    sides = {name: [_stretch_as_json(one) for one in getattr(row, name)] for name in ("quiet", "attacked")}
    told = {"p99": {deed: row.p99(deed) for deed in Deed}, "ratios": {deed: row.ratio(deed) for deed in Deed}}
    intervals = {"intervals": {deed: row.interval(deed) for deed in Deed}}
    return {**asdict(row), **sides, **told, **intervals, "over": row.over}


def _stretch_as_json(stretch: Stretch) -> dict[str, Any]:
    """With their number in the place of the latencies."""
    return {
        "p99": {deed: stretch.p99(deed) for deed in Deed},
        "requests": {deed: len(stretch.latencies[deed]) for deed in Deed},
        "errors": stretch.errors,
        "footprint": asdict(stretch.footprint),
    }


def table(rows: Iterable[AttackRow]) -> str:
    """A line for each attack, in Markdown."""
    cells = [_HEAD, ["---", *["--:"] * (len(_HEAD) - 2), "---"], *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _cells(row: AttackRow) -> list[str]:
    quiet, beside = row.cores()
    return [
        row.name,
        *(_latency(row, deed) for deed in Deed),
        str(row.errors),
        *(_with_ratio(row.memory(name)[1], _quotient(*row.memory(name)), digits=0) for name in PROGRAMS),
        f"{quiet:.2f} → {beside:.2f}",
        f"**{', '.join(row.over)}**" if row.over else "",
    ]


def ratios_of(row: AttackRow) -> str:
    """In one line."""
    return ", ".join(f"{deed} {_latency(row, deed)}" for deed in Deed)


def _latency(row: AttackRow, deed: Deed) -> str:
    if (ratio := row.ratio(deed)) is None:
        return "–"
    low, high = row.interval(deed)
    return f"{row.p99(deed):.1f} ({ratio:.2f}×, {low:.1f}–{high:.1f})"


def _quotient(quiet: float, beside: float) -> float | None:
    return beside / quiet if quiet else None


def _with_ratio(number: float, ratio: float | None, *, digits: int = 1) -> str:
    return "–" if ratio is None else f"{number:.{digits}f} ({ratio:.2f}×)"


def _scene() -> str:
    return (
        "Web server with two processes, worker with two, sender, beat, PostgreSQL and Valkey ran as `make run` starts "
        f"them, anew for each row. The other tenant sent {SENDS:.0f} events and read {READS:.0f} lists and events a "
        "second, and got a webhook for each event. In brackets a ratio, and where it lies nine times of ten."
    )
