"""What the benchmark of the pages tells: a line for each page and person, with the same page on few and many events."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import machine_line, write_texts

P95_MS = 100.0
# A search looks at events until its time is over, and says how far it came.
SEARCH, SEARCH_MS = "console:search", 1_000.0
# As do these, some thousand events long: with few events there are not so many.
LOOKING = (" path=", " subject=", " source=/nowhere", " status=accepted", " type=nothing")
QUERIES = 12
RATIO = 1.3
# A ratio of small times is noise: it counts when the page is also slower by so much.
RATIO_MS = 5.0
# A page of fifty rows takes longer than one of three, however many there are behind them.
FULLER = 1.2


@dataclass(frozen=True, kw_only=True)
class Figures:
    """A page in one database: milliseconds, the most SQL statements of a request, bytes of the answer."""

    p50: float
    p95: float
    queries: int
    size: int


@dataclass(frozen=True, kw_only=True)
class PageRow:
    """`page` is the URL's name with what is chosen on it; `viewer` is `staff`, `member` or `customer`."""

    page: str
    viewer: str
    status: int
    few: Figures
    many: Figures

    @property
    def ratio(self) -> float:
        return self.many.p95 / self.few.p95 if self.few.p95 else 1.0

    @property
    def over(self) -> list[str]:
        """The limits that it is over."""
        found = []
        if self.many.p95 > (SEARCH_MS if self.is_search else P95_MS):
            found.append("time")
        if self.many.queries > QUERIES:
            found.append("queries")
        if self.is_slower and not self.is_fuller and not self.is_search and not self.is_looking:
            found.append("ratio")
        return found

    @property
    def is_search(self) -> bool:
        return self.page.startswith(SEARCH)

    @property
    def is_looking(self) -> bool:
        """For what is rare, or not there."""
        return any(text in self.page for text in LOOKING)

    @property
    def excuse(self) -> str:
        """Why it may be slower than with few events."""
        if not self.is_slower or self.is_search:
            return ""
        return "looks at more" if self.is_looking else "shows more"

    @property
    def is_slower(self) -> bool:
        """With many events than with few."""
        return self.ratio > RATIO and self.many.p95 - self.few.p95 > RATIO_MS

    @property
    def is_fuller(self) -> bool:
        """It shows more with many events."""
        return self.many.size > FULLER * self.few.size


@dataclass(frozen=True, kw_only=True)
class NotMeasured:
    """`is_failure`: it should have been."""

    page: str
    viewer: str
    reason: str
    is_failure: bool = False


@dataclass(frozen=True, kw_only=True)
class PagesReport:
    """`facts` tell the machine, and how many events, requests and tenants there were."""

    facts: dict[str, Any]
    rows: Sequence[PageRow]
    not_measured: Sequence[NotMeasured]
    name: str = "console"
    title: str = "Console and admin: time and queries of each page"

    @property
    def accounts_hold(self) -> bool:
        """Was every page measured that can be?"""
        return bool(self.rows) and not any(page.is_failure for page in self.not_measured)

    def facts_line(self) -> str:
        facts = self.facts
        return (
            f"{machine_line(facts)} · {facts['requests']} requests of each page and person after "
            f"{facts['warm_up']} to warm up · {facts['few']:,} and {facts['many']:,} events in "
            f"{facts['tenants']} organizations"
        )

    def markdown(self) -> str:
        parts = [self._verdict(), _table(self.rows, self.facts)]
        failures = [page for page in self.not_measured if page.is_failure]
        if failures:
            parts.append("FAILED:\n\n" + "\n".join(map(_line_of, failures)))
        if others := [page for page in self.not_measured if not page.is_failure]:
            parts.append(_not_measured(others))
        return "\n\n".join(parts)

    def write(self, folder: Path) -> list[Path]:
        texts = {"json": json.dumps(self.as_json(), indent=1), "md": f"{self.facts_line()}\n\n{self.markdown()}"}
        return write_texts(folder, self.name, texts)

    def as_json(self) -> dict[str, Any]:
        rows = [{**asdict(row), "ratio": round(row.ratio, 3), "over": row.over} for row in self.rows]
        limits = {
            "p95_ms": P95_MS,
            "search_ms": SEARCH_MS,
            "queries": QUERIES,
            "ratio": RATIO,
            "ratio_ms": RATIO_MS,
            "fuller": FULLER,
        }
        return {"name": self.name, "title": self.title, "facts": self.facts, "limits": limits, "rows": rows,
                "not_measured": [asdict(page) for page in self.not_measured]}  # fmt: skip

    def _verdict(self) -> str:
        over = sum(bool(row.over) for row in self.rows)
        fuller = sum(row.is_slower and (row.is_fuller or row.is_looking) for row in self.rows)
        slowest = max(self.rows, key=lambda row: row.many.p95, default=None)
        most = max((row.many.queries for row in self.rows), default=0)
        text = (
            f"{over} of {len(self.rows)} rows are over a limit: p95 {P95_MS:.0f} ms ({SEARCH_MS:.0f} of a search), "
            f"{QUERIES} queries, or {RATIO} × the time with few events (when that is also more than {RATIO_MS:.0f} ms, "
            f"and the page neither shows nor looks at more). {fuller} more are slower and do so."
        )
        if slowest:
            text += f" The slowest is {slowest.page} ({slowest.viewer}): {slowest.many.p95:.1f} ms. "
            text += f"The most queries are {most}."
        return text


def _table(rows: Sequence[PageRow], facts: dict[str, Any]) -> str:
    few, many = _short(facts["few"]), _short(facts["many"])
    head = ("page", "as", f"p50 ms {few}", f"p95 ms {few}", f"p50 ms {many}", f"p95 ms {many}", "ratio", "queries",
            "KiB", "over")  # fmt: skip
    lines = [head, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    is_name = [column in {0, 1, len(head) - 1} for column in range(len(head))]
    rule = ["-" * width if name else f"{'-' * (width - 1)}:" for width, name in zip(widths, is_name, strict=True)]
    return "\n".join(
        "| " + " | ".join(
            cell.ljust(width) if name else cell.rjust(width)
            for cell, width, name in zip(line, widths, is_name, strict=True)
        ) + " |"
        for line in (head, rule, *lines[1:])
    )  # fmt: skip


def _cells(row: PageRow) -> tuple[str, ...]:
    queries = str(row.many.queries)
    if row.few.queries != row.many.queries:
        queries = f"{row.few.queries} → {queries}"
    size = f"{row.many.size / 1024:.0f}"
    if row.is_fuller:
        size = f"{row.few.size / 1024:.0f} → {size}"
    times = (row.few.p50, row.few.p95, row.many.p50, row.many.p95)
    status = f" ({row.status})" if row.status != 200 else ""
    return (
        f"{row.page}{status}".replace("|", "\\|"), row.viewer, *(f"{time:.1f}" for time in times),
        f"{row.ratio:.2f}", queries, size, ", ".join(row.over) or row.excuse,
    )  # fmt: skip


def _not_measured(pages: Sequence[NotMeasured]) -> str:
    by_reason: dict[str, list[str]] = {}
    for page in pages:
        names = by_reason.setdefault(page.reason, [])
        if page.page not in names:
            names.append(page.page)
    lines = [f"- {reason}: {', '.join(names)}" for reason, names in by_reason.items()]
    return "Not measured:\n\n" + "\n".join(lines)


def _line_of(page: NotMeasured) -> str:
    return f"- {page.page} ({page.viewer}): {page.reason}"


def _short(number: int) -> str:
    for size, unit in ((1_000_000, " M"), (1_000, " k")):
        if number >= size:
            return f"{number / size:g}{unit}"
    return str(number)
