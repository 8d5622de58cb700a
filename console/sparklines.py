"""Small charts in a line of a table: bars as numbers for a template, no script and no inline style."""

from collections.abc import Sequence
from dataclasses import dataclass

HEIGHT = 24
STEP = 5
_GAP = 1


@dataclass(frozen=True, kw_only=True)
class SparkBar:
    """`good` from the bottom up, `bad` on top of it."""

    x: int
    good_y: float
    good: float
    bad_y: float
    bad: float


@dataclass(frozen=True, kw_only=True)
class Sparkline:
    """`label` tells a reader who does not see it what it shows."""

    width: int
    bars: list[SparkBar]
    label: str
    height: int = HEIGHT
    bar_width: int = STEP - _GAP


def sparkline(columns: Sequence[tuple[int, int]], label: str) -> Sparkline:
    """`columns` are `(good, bad)`, oldest first."""
    top = max((good + bad for good, bad in columns), default=0) or 1
    return Sparkline(
        width=STEP * len(columns),
        bars=[_bar(number * STEP, good, bad, top) for number, (good, bad) in enumerate(columns) if good or bad],
        label=label,
    )


def _bar(x: int, good: int, bad: int, top: int) -> SparkBar:
    """What is there can be seen, however little it is."""
    tall_good = max(2.0, HEIGHT * good / top) if good else 0.0
    tall_bad = max(2.0, HEIGHT * bad / top) if bad else 0.0
    if (over := tall_good + tall_bad - HEIGHT) > 0:
        tall_good, tall_bad = (tall_good - over, tall_bad) if tall_good > tall_bad else (tall_good, tall_bad - over)
    return SparkBar(
        x=x,
        good_y=round(HEIGHT - tall_good, 2),
        good=round(tall_good, 2),
        bad_y=round(HEIGHT - tall_good - tall_bad, 2),
        bad=round(tall_bad, 2),
    )
