"""What the attacks cost: a line for each, beside the quiet stretches of the same minutes, and what is over a bound."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.hostile.bystander import READS, SENDS, Deed
from benchmarks.hostile.footprint import Footprint
from benchmarks.report import machine_line, write_texts
from installation.local.data_dir import CHECKOUT

PAGE = CHECKOUT / "docs/security.md"
BEGIN = "<!-- table: written by `python -m benchmarks --only hostile --publish` -->"
END = "<!-- end of the table -->"
WEB_MEBIBYTES = 200.0
# What the web processes may have of bodies on the disk, all together.
FILE_MEBIBYTES = 64.0
PROGRAMS = ("web", "worker", "sender", "beat")
_HEAD = (
    "attack", *(f"{deed} p99, ms" for deed in Deed), "errors", "web MiB", "worker MiB", "sender MiB", "beat MiB",
    "web CPU", "over",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Some seconds of the other tenant's life. `p99` in milliseconds by deed; `errors` by what happened."""

    p99: dict[Deed, float]
    requests: dict[Deed, int]
    errors: dict[str, int]
    footprint: Footprint


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
        """Beside the attack: the median of the stretches'."""
        return median(stretch.p99[deed] for stretch in self.attacked) if self.attacked else 0.0

    def ratio(self, deed: Deed) -> float | None:
        """Of the p99 beside the attack to that of the quiet stretch before: the median of the pairs'."""
        pairs = zip(self.attacked, self.quiet, strict=False)
        ratios = [beside.p99[deed] / quiet.p99[deed] for beside, quiet in pairs if quiet.p99[deed]]
        return median(ratios) if ratios else None

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
        facts = self.facts
        return (
            f"{machine_line(facts)} · {facts['rounds']} × {facts['seconds']:g} s beside each attack, as many without it"
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


def _as_json(row: AttackRow) -> dict[str, Any]:
    return {**asdict(row), "ratios": {deed: row.ratio(deed) for deed in Deed}, "over": row.over}


def table(rows: Iterable[AttackRow]) -> str:
    """A line for each attack, in Markdown."""
    cells = [_HEAD, ["---", *["--:"] * (len(_HEAD) - 2), "---"], *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _cells(row: AttackRow) -> list[str]:
    quiet, beside = row.cores()
    return [
        row.name,
        *(_with_ratio(row.p99(deed), row.ratio(deed)) for deed in Deed),
        str(row.errors),
        *(_with_ratio(row.memory(name)[1], _quotient(*row.memory(name)), digits=0) for name in PROGRAMS),
        f"{quiet:.2f} → {beside:.2f}",
        f"**{', '.join(row.over)}**" if row.over else "",
    ]


def _quotient(quiet: float, beside: float) -> float | None:
    return beside / quiet if quiet else None


def _with_ratio(number: float, ratio: float | None, *, digits: int = 1) -> str:
    return "–" if ratio is None else f"{number:.{digits}f} ({ratio:.2f}×)"


def _scene() -> str:
    return (
        "Web server with two processes, worker with two, sender, beat, PostgreSQL and Valkey ran as `make run` starts "
        f"them, anew for each row. The other tenant sent {SENDS:.0f} events and read {READS:.0f} lists and events a "
        "second, and got a webhook for each event."
    )
