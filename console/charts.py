"""Charts as SVG that the server draws: numbers for a template, no script and no inline style."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import floor, log10

from console.stats import Bar

WIDTH = 720
HEIGHT = 160
_GAP = 2


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A part of a bar, from the bottom up."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, kw_only=True)
class Column:
    """A bar of the chart with the link behind it."""

    x: float
    width: float
    url: str
    start: datetime
    bar: Bar
    segments: list[Segment]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """`ticks` are the lines of the scale: `(y, label)`."""

    width: int
    height: int
    columns: list[Column]
    ticks: list[tuple[float, str]]
    top: int


def intake_chart(bars: Sequence[Bar], url_of: Callable[[Bar], str]) -> Chart:
    """Stacked: accepted, then duplicate, then rejected on top."""
    top = _round_up(max((bar.total for bar in bars), default=0))
    step = WIDTH / max(1, len(bars))
    columns = [
        Column(
            x=round(number * step, 2),
            width=round(step - _GAP, 2),
            url=url_of(bar),
            start=bar.start,
            bar=bar,
            segments=_segments(bar, top),
        )
        for number, bar in enumerate(bars)
    ]
    ticks = [(round(HEIGHT * (1 - part), 2), short_number(int(top * part))) for part in (1.0, 0.5)]
    return Chart(width=WIDTH, height=HEIGHT, columns=columns, ticks=ticks, top=top)


def short_number(number: int) -> str:
    """`12 900` → `12.9k`."""
    for limit, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= limit:
            return f"{number / limit:.1f}".rstrip("0").rstrip(".") + unit
    return str(number)


def _segments(bar: Bar, top: int) -> list[Segment]:
    found = []
    filled = 0.0
    for kind in ("accepted", "duplicate", "rejected"):
        count = getattr(bar, kind)
        if count:
            # What is there can be seen, however little it is.
            height = max(1.5, HEIGHT * count / top)
            filled += height
            found.append(Segment(kind=kind, y=round(HEIGHT - filled, 2), height=round(height, 2)))
    return found


def _round_up(number: int) -> int:
    """To the next 2, 4, 6, 10, 20, 40, …: a scale whose half is a whole number."""
    if number <= 2:
        return 2
    unit: int = 10 ** floor(log10(number))
    return next(step * unit for step in (1, 2, 4, 6, 10) if step * unit >= number and step * unit % 2 == 0)
