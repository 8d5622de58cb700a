"""What one measurement found, whichever generator made the load."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

# Above this share of a core the generator, not the server, may have set the pace.
BOTTLENECK = 0.9


@dataclass(kw_only=True)
class Sample:
    """One load on one server.

    `statuses` counts answers by status, `unexpected` those that were not what the request deserved, `failures` requests
    without an answer; status 0 stands for those of 400 and above that wrk does not tell apart. `accepted` and
    `duplicates` count events, by the server's answers; `unread` is how many more may have been written, because their
    answers were not counted or never came. Latencies are milliseconds; `generator_cpu` is the share of one core.
    """

    seconds: float
    accepted: int
    duplicates: int = 0
    rejected: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    unexpected: int = 0
    failures: int = 0
    unread: int = 0
    p50: float
    p95: float
    p99: float
    generator: str
    generator_cpu: float
    found: int = -1
    peak_mebibytes: float = 0.0

    @property
    def rate(self) -> float:
        """Accepted events a second."""
        return self.accepted / self.seconds if self.seconds else 0.0

    @property
    def errors(self) -> int:
        return self.unexpected + self.failures

    @property
    def generator_was_bottleneck(self) -> bool:
        return self.generator_cpu > BOTTLENECK

    @property
    def accounts_hold(self) -> bool:
        """Accepted = found; beyond that only what may have been written without its answer being counted."""
        return self.accepted <= self.found <= self.accepted + self.unread


@dataclass(kw_only=True)
class Tally:
    """The counts and latencies (seconds) of one process of the Python generator; picklable."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    unexpected: int = 0
    failures: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)


def sample_of(tallies: Sequence[Tally]) -> Sample:
    """The sample of a load that several processes made together."""
    latencies = sorted(latency for tally in tallies for latency in tally.latencies)
    statuses: Counter[int] = Counter()
    for tally in tallies:
        statuses.update(tally.statuses)
    return Sample(
        seconds=max(tally.seconds for tally in tallies),
        accepted=_sum(tally.accepted for tally in tallies),
        duplicates=_sum(tally.duplicates for tally in tallies),
        rejected=_sum(tally.rejected for tally in tallies),
        unexpected=_sum(tally.unexpected for tally in tallies),
        failures=_sum(tally.failures for tally in tallies),
        statuses=dict(statuses),
        p50=percentile(latencies, 0.50),
        p95=percentile(latencies, 0.95),
        p99=percentile(latencies, 0.99),
        generator="python",
        generator_cpu=max(tally.cpu_seconds / tally.seconds if tally.seconds else 0.0 for tally in tallies),
    )


def _sum(numbers: Iterable[int]) -> int:
    return sum(numbers)


def percentile(ordered: Sequence[float], share: float) -> float:
    """In milliseconds; the smallest latency that `share` of all do not exceed."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))] * 1000
