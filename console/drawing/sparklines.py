"""Small charts in a line of a table: paths for a template, no script and no inline style."""

from collections.abc import Sequence
from dataclasses import dataclass

from console.drawing.charts import BarPath

HEIGHT = 24
STEP = 5
_GAP = 1


@dataclass(frozen=True, kw_only=True)
class Sparkline:
    """Paths of the `good` bars, from the bottom up, and of the `bad` ones on top; `label` tells what they show."""

    width: int
    good: str
    bad: str
    label: str
    height: int = HEIGHT


def sparkline(columns: Sequence[tuple[int, int]], label: str) -> Sparkline:
    """`columns` are `(good, bad)`, oldest first."""
    top = max((good + bad for good, bad in columns), default=0) or 1
    good_path, bad_path = BarPath(STEP - _GAP), BarPath(STEP - _GAP)
    for number, (good, bad) in enumerate(columns):
        tall_good, tall_bad = _heights(good, bad, top)
        if good:
            good_path.add(number * STEP, HEIGHT - tall_good, tall_good)
        if bad:
            bad_path.add(number * STEP, HEIGHT - tall_good - tall_bad, tall_bad)
    return Sparkline(width=STEP * len(columns), good=str(good_path), bad=str(bad_path), label=label)


def _heights(good: int, bad: int, top: int) -> tuple[float, float]:
    """What is there can be seen, however little it is."""
    tall_good = max(2.0, HEIGHT * good / top) if good else 0.0
    tall_bad = max(2.0, HEIGHT * bad / top) if bad else 0.0
    if (over := tall_good + tall_bad - HEIGHT) > 0:
        return (tall_good - over, tall_bad) if tall_good > tall_bad else (tall_good, tall_bad - over)
    return tall_good, tall_bad
