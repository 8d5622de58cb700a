"""The report of a comparison as a Markdown table, as JSON and as a chart; and what every report can do."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.chart import chart_of
from benchmarks.rows import Measure, Row

_LATENCIES, _COUNTS = ("p50", "p95", "p99"), ("accepted", "found", "errors")
_HEAD = ("row", "side", "{unit}/s", "p50 ms", "p95 ms", "p99 ms", "ratio", *_COUNTS, "peak MiB", "generator")


class Told(Protocol):
    """What every benchmark returns. `accounts_hold`: was what it promises kept?"""

    @property
    def title(self) -> str: ...

    @property
    def accounts_hold(self) -> bool: ...

    def facts_line(self) -> str:
        """Where and how it was measured, in one paragraph."""

    def markdown(self) -> str: ...

    def write(self, folder: Path) -> list[Path]:
        """Write the results as files; returns their paths."""


@dataclass(kw_only=True)
class Report:
    """The outcome of a benchmark that compares two sides; `facts` tell the machine and the versions.

    `unit` is what is counted, `promise` what must have become of each.
    """

    name: str
    title: str
    facts: dict[str, Any]
    rows: Sequence[Row]
    unit: str = "events"
    promise: str = "found in PostgreSQL"

    @property
    def accounts_hold(self) -> bool:
        """Was the promise kept for every accepted event, in every row?"""
        measures = [measure for row in self.rows for measure in (row.ours, row.reference)]
        return all(measure.accounts_hold for measure in measures)

    def as_json(self) -> dict[str, Any]:
        rows = [{**asdict(row), "ratio": row.ratio, "medians": row.medians()} for row in self.rows]
        return {"name": self.name, "title": self.title, "facts": self.facts,
                "accepted_equals_found": self.accounts_hold, "rows": rows}  # fmt: skip

    def facts_line(self) -> str:
        facts = self.facts
        generators = {
            True: " · wrk where it can make the load, else the Python generator",
            False: " · the Python generator",
        }
        return (
            f"{machine_line(facts)} · {facts['rounds']} × {facts['seconds']:g} s for each row and side"
            f"{generators[facts['wrk']] if 'wrk' in facts else ''}"
        )

    def markdown(self) -> str:
        """One table for each group of rows, and the sentence on accepted and found events."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row.group, []).append(row)
        parts = [f"### {group}\n\n{_table(rows, self.unit)}" for group, rows in groups.items()]
        return "\n\n".join([*parts, _accounts(self)])

    def write(self, folder: Path) -> list[Path]:
        """Write `<name>.json`, `<name>.svg` and `<name>.md`; returns their paths."""
        texts = {
            "json": json.dumps(self.as_json(), indent=1),
            "svg": chart_of(self.title, self.rows, facts=self.facts, unit=self.unit),
            "md": f"{self.facts_line()}\n\n{self.markdown()}",
        }
        return write_texts(folder, self.name, texts)


def machine_line(facts: dict[str, Any]) -> str:
    """When and on what was measured."""
    return (
        f"{facts['measured_at']} · commit {facts['commit'] or 'unknown'} · {facts['cpu']}, {facts['cores']} cores, "
        f"{facts['memory_gib']} GiB, {facts['system']}, Python {facts['python']} · "
        f"load before: {facts['load_before'][0]}"
    )


def write_texts(folder: Path, name: str, texts: Mapping[str, str]) -> list[Path]:
    """Write each text to `<name>.<ending>`; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(f"{text}\n", encoding="utf-8")
    return paths


def _table(rows: Iterable[Row], unit: str) -> str:
    head = [text.format(unit=unit) for text in _HEAD]
    cells = [line for row in rows for line in _lines(row)]
    widths = [max(len(line[column]) for line in (head, *cells)) for column in range(len(head))]
    rule = ["-" * width if index < 2 else f"{'-' * (width - 1)}:" for index, width in enumerate(widths)]
    return "\n".join(_aligned(line, widths) for line in (head, rule, *cells))


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    names = [text.ljust(width) for text, width in zip(line[:2], widths[:2], strict=True)]
    numbers = [text.rjust(width) for text, width in zip(line[2:], widths[2:], strict=True)]
    return f"| {' | '.join([*names, *numbers])} |"


def _lines(row: Row) -> list[tuple[str, ...]]:
    if not row.measured:
        return [(row.name, row.note, *("–" for _ in _HEAD[2:]))]
    name = f"{row.name} ({row.note})" if row.note else row.name
    return [_line(name, row.ours, _ratio(row)), _line("", row.reference, "")]


def _line(name: str, measure: Measure, ratio: str) -> tuple[str, ...]:
    latencies = (_milliseconds(measure.median(percentile)) for percentile in _LATENCIES)
    counts = (_grouped(measure.total(count)) for count in _COUNTS)
    rate = _grouped(round(measure.median("rate")))
    name_of = measure.samples[0].generator
    generator = f"{name_of} {measure.median('generator_cpu'):.0%}" if name_of else "–"
    return (name, measure.label, rate, *latencies, ratio, *counts, f"{measure.peak_mebibytes:.0f}", generator)


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return "–"
    sign = "" if row.compared == "rate" else f"{row.compared} "
    return (
        f"{sign}{row.ratio:.3g}×"
        if row.ratio < 10
        else f"{sign}{row.ratio:.1f}×"
        if row.ratio < 100
        else f"{sign}{row.ratio:.0f}×"
    )


def _milliseconds(latency: float) -> str:
    return f"{latency:.1f}" if latency else "–"


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _accounts(report: Report) -> str:
    measures = [measure for row in report.rows for measure in (row.ours, row.reference)]
    accepted = sum(measure.total("accepted") for measure in measures)
    found = sum(measure.total("found") for measure in measures)
    if not report.accounts_hold:
        return (
            f"ACCEPTED AND FOUND DIFFER: {_grouped(accepted)} {report.unit} were accepted, {_grouped(found)} are found."
        )
    text = f"Accepted: {_grouped(accepted)} {report.unit}, each of them {report.promise}."
    if found > accepted:
        text += f" {_grouped(found - accepted)} more were committed whose answers no load generator counted."
    return text
