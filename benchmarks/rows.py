"""What a comparison tells: rows with medians over rounds, and how the two sides of a row compare."""

from dataclasses import dataclass, field
from statistics import median

from benchmarks.samples import Sample


@dataclass(kw_only=True)
class Measure:
    """One side of a row: every round's sample. What is asked of it is the median, of counts the sum."""

    label: str
    samples: list[Sample] = field(default_factory=list)

    def median(self, name: str) -> float:
        return median(float(getattr(sample, name)) for sample in self.samples)

    def total(self, name: str) -> int:
        return sum(int(getattr(sample, name)) for sample in self.samples)

    @property
    def peak_mebibytes(self) -> float:
        return max(sample.peak_mebibytes for sample in self.samples)

    @property
    def accounts_hold(self) -> bool:
        return all(sample.accounts_hold for sample in self.samples)


@dataclass(kw_only=True)
class Row:
    """One line of the table. `compared` is what the ratio is made of: `rate`, or a latency such as `p99`.

    `note` says why there are no numbers, or what makes them doubtful.
    """

    group: str
    name: str
    clients: int
    compared: str = "rate"
    ours: Measure
    reference: Measure
    note: str = ""

    @property
    def measured(self) -> bool:
        return bool(self.ours.samples)

    def medians(self) -> dict[str, dict[str, float]]:
        """Events a second and latencies of each side that was measured."""
        sides = {"ours": self.ours, "reference": self.reference}
        return {
            side: {name: measure.median(name) for name in ("rate", "p50", "p95", "p99")}
            for side, measure in sides.items()
            if measure.samples
        }

    @property
    def ratio(self) -> float | None:
        """The median of the rounds' ratios, ours to the reference: the two of a round ran right after each other."""
        pairs = [
            (float(getattr(ours, self.compared)), float(getattr(reference, self.compared)))
            for ours, reference in zip(self.ours.samples, self.reference.samples, strict=False)
        ]
        ratios = [ours / reference for ours, reference in pairs if reference]
        return median(ratios) if ratios else None
