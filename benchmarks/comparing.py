"""Two sides of a row, measured in turns: ours and the reference right after each other, round by round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.machine import machine_facts
from benchmarks.options import Options
from benchmarks.progress import Progress
from benchmarks.rows import Measure, Row
from benchmarks.samples import Sample
from benchmarks.targets import OURS, TEXTBOOK

# What webhooks on loopback need.
LOOPBACK = {"WEBHOOK_ALLOW_HTTP": "true", "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.1/32"}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A row to be measured: how each side makes one sample. `compared` is as in a Row."""

    group: str
    name: str
    ours: Callable[[], Sample]
    reference: Callable[[], Sample]
    reference_label: str = TEXTBOOK
    compared: str = "rate"


def compare(comparison: Comparison, options: Options, progress: Progress) -> Row:
    """Measure `rounds` times both sides, each of them first in every other round.

    What comes every second time, such as a full garbage collection of the worker, would else meet one side alone.
    """
    row = Row(
        group=comparison.group,
        name=comparison.name,
        clients=1,
        compared=comparison.compared,
        ours=Measure(label=OURS),
        reference=Measure(label=comparison.reference_label),
    )
    sides = [(row.ours, comparison.ours), (row.reference, comparison.reference)]
    for _ in range(options.rounds):
        for measure, make_sample in sides:
            sample = make_sample()
            measure.samples.append(sample)
            progress.measured(_line(row, measure.label, sample), seconds=options.seconds)
        sides.reverse()
    row.note = _doubts(row)
    return row


def chosen(comparisons: Sequence[Comparison], options: Options) -> list[Comparison]:
    """Those that `--rows` names."""
    return [comparison for comparison in comparisons if options.rows in comparison.name]


def facts_of(options: Options) -> dict[str, Any]:
    """The machine's facts, without the load generator of the intake."""
    facts = machine_facts(options)
    del facts["wrk"]
    return facts


def drained(*, events: int, found: int, seconds: float, peak_mebibytes: float, **more: Any) -> Sample:
    """The sample of work that was drained as fast as it goes: it has no latencies."""
    values = {"generator": "", "generator_cpu": 0.0, "p50": 0.0, "p95": 0.0, "p99": 0.0, **more}
    return Sample(seconds=seconds, accepted=events, found=found, peak_mebibytes=peak_mebibytes, **values)


def _line(row: Row, label: str, sample: Sample) -> str:
    number = f"{sample.rate:,.0f}/s" if row.compared == "rate" else ""
    latencies = f"p50 {sample.p50:.1f} ms, p95 {sample.p95:.1f} ms, p99 {sample.p99:.1f} ms" if sample.p50 else ""
    text = f"{row.name}, {label}: {number or latencies}"
    return text if sample.accounts_hold else f"{text}, ACCEPTED {sample.accepted} BUT FOUND {sample.found}"


def _doubts(row: Row) -> str:
    samples = [*row.ours.samples, *row.reference.samples]
    doubts = ["the receiver was the bottleneck"] if any(one.generator_was_bottleneck for one in samples) else []
    if not all(sample.accounts_hold for sample in samples):
        doubts.append("ACCEPTED AND FOUND DIFFER")
    return "; ".join(doubts)
