"""A report as an SVG bar chart, readable on light and dark pages and by screen readers."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from benchmarks.rows import Measure, Row

_WIDTH, _LABELS, _NUMBERS, _MARGIN = 860, 270, 190, 16
_BAR, _ROW, _GROUP = 13, 40, 52
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 } .group { font-weight: 600 } .small { font-size: 11px; fill: #59636e }
.ours { fill: #0969da } .reference { fill: #8c959f } .ground { fill: #ffffff }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 } .ours { fill: #4493f8 } .reference { fill: #656c76 }
  .ground { fill: #0d1117 }
}
"""


def chart_of(title: str, rows: Sequence[Row], *, facts: Mapping[str, Any], unit: str) -> str:
    """Bars of our side and the reference for each row; each group has a linear scale of its own, from zero."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row.measured:
            groups.setdefault(row.group, []).append(row)
    parts, top = [], 64
    for name, members in groups.items():
        parts.append(_group(name, members, top, unit))
        top += _GROUP + _ROW * len(members)
    legend = _text(_MARGIN, 48, f"Blue: ours. Grey: the reference. {_when(facts)}", "small")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" role="img" '
        'aria-labelledby="title desc">\n'
        f'<title id="title">{escape(title)}</title>\n<desc id="desc">{escape(_description(groups))}</desc>\n'
        f'<style>{_STYLE}</style>\n<rect class="ground" width="{_WIDTH}" height="{top}" rx="6"/>\n'
        f"{_text(_MARGIN, 28, title, 'title')}\n{legend}\n{''.join(parts)}</svg>"
    )


def _when(facts: Mapping[str, Any]) -> str:
    count = facts["rounds"]
    rounds = f"{'medians of' if count > 1 else ''} {count} round{'s' * (count > 1)} of {facts['seconds']:g} s".strip()
    return f"{facts['cores']} cores, {rounds}, {facts['measured_at'][:10]}"


def _group(name: str, rows: Sequence[Row], top: int, counted: str) -> str:
    """One panel; rows that compare latencies show milliseconds, others so many a second."""
    largest = max(_value(row, measure) for row in rows for measure in (row.ours, row.reference)) or 1.0
    compared = rows[0].compared
    unit = f"{counted} a second" if compared == "rate" else f"{compared}, ms"
    parts = [_text(_MARGIN, top + 24, name, "group"), _text(_LABELS, top + 24, unit, "small")]
    for index, row in enumerate(rows):
        parts.append(_bars(row, largest, top + 36 + _ROW * index))
    return "\n".join(parts) + "\n"


def _bars(row: Row, largest: float, top: int) -> str:
    parts = [_text(_MARGIN, top + _BAR + 4, row.name)]
    room = _WIDTH - _LABELS - _NUMBERS
    for index, (kind, measure) in enumerate((("ours", row.ours), ("reference", row.reference))):
        value, y = _value(row, measure), top + index * (_BAR + 2)
        width = max(1.0, value / largest * room)
        parts.append(f'<rect class="{kind}" x="{_LABELS}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2"/>')
        parts.append(_text(_LABELS + round(width) + 6, y + _BAR - 2, _told(row, measure, value, kind), "small"))
    return "\n".join(parts)


def _told(row: Row, measure: Measure, value: float, kind: str) -> str:
    number = f"{value:,.0f}".replace(",", " ") if row.compared == "rate" else f"{value:.1f} ms"
    ratio = f" ({row.ratio:.3g}×)" if kind == "ours" and row.ratio is not None else ""
    return f"{number}{ratio}" if kind == "ours" else f"{number} {measure.label}"


def _value(row: Row, measure: Measure) -> float:
    return measure.median(row.compared) if measure.samples else 0.0


def _text(x: int, y: int, text: str, style: str = "") -> str:
    named = f' class="{style}"' if style else ""
    return f'<text x="{x}" y="{y}"{named}>{escape(text)}</text>'


def _description(groups: dict[str, list[Row]]) -> str:
    told = [
        f"{row.name}: {_told(row, row.ours, _value(row, row.ours), 'ours')} against "
        f"{_told(row, row.reference, _value(row, row.reference), 'reference')}"
        for rows in groups.values()
        for row in rows
    ]
    return "; ".join(told)
