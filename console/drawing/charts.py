"""Charts as SVG that the server draws: numbers for a template, no script and no inline style."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, log10

from console.overview.queries import Bar

WIDTH = 720
HEIGHT = 160
_GAP = 2
_KINDS = ("accepted", "duplicate", "rejected")


@dataclass(frozen=True, kw_only=True)
class Column:
    """The part of the chart that a bar stands in, with the link behind it; `label` tells what the bar shows."""

    x: float
    url: str
    label: str
    bar: Bar


@dataclass(frozen=True, kw_only=True)
class Chart:
    """`ticks` are the lines of the scale: `(y, label)`; `shapes` are all bars: `(kind, path)` from the bottom up."""

    width: int
    height: int
    column_width: float
    columns: list[Column]
    shapes: list[tuple[str, str]]
    ticks: list[tuple[float, str]]


class BarPath:
    """Bars of one kind as a single SVG path: hundreds of elements would take a template tens of milliseconds."""

    def __init__(self, width: float) -> None:
        self._width = width
        self._parts: list[str] = []

    def add(self, x: float, y: float, height: float) -> None:
        self._parts.append(f"M{x:g} {y:.4g}h{self._width:g}v{height:.4g}h-{self._width:g}z")

    def __str__(self) -> str:
        return "".join(self._parts)


def intake_chart(bars: Sequence[Bar], url_of: Callable[[Bar], str]) -> Chart:
    """Stacked: accepted, then duplicate, then rejected on top."""
    top = _round_up(max((bar.total for bar in bars), default=0))
    step = WIDTH / max(1, len(bars))
    width = round(step - _GAP, 2)
    paths = {kind: BarPath(width) for kind in _KINDS}
    columns = []
    for number, bar in enumerate(bars):
        x = round(number * step, 2)
        columns.append(Column(x=x, url=url_of(bar), label=_label(bar), bar=bar))
        filled = 0.0
        for kind, path in paths.items():
            if count := getattr(bar, kind):
                # What is there can be seen, however little it is.
                height = max(1.5, HEIGHT * count / top)
                filled += height
                path.add(x, HEIGHT - filled, height)
    return Chart(
        width=WIDTH,
        height=HEIGHT,
        column_width=width,
        columns=columns,
        shapes=[(kind, str(path)) for kind, path in paths.items()],
        ticks=[(round(HEIGHT * (1 - part), 2), short_number(int(top * part))) for part in (1.0, 0.5)],
    )


def _label(bar: Bar) -> str:
    counts = ", ".join(f"{getattr(bar, kind)} {kind}" for kind in _KINDS)
    return f"{bar.start:%Y-%m-%d %H:%M} UTC: {counts}"


def short_number(number: int) -> str:
    """`12 900` → `12.9k`."""
    for limit, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= limit:
            return f"{number / limit:.1f}".rstrip("0").rstrip(".") + unit
    return str(number)


def _round_up(number: int) -> int:
    """To the next 2, 4, 6, 10, 20, 40, …: a scale whose half is a whole number."""
    if number <= 2:
        return 2
    unit: int = 10 ** floor(log10(number))
    return next(step * unit for step in (1, 2, 4, 6, 10) if step * unit >= number and step * unit % 2 == 0)
