"""Write what events cost into docs/operations/sizing.md, from what `make bench ONLY=chain` has measured.

`python -m scripts.write_sizing_page` writes it; a test fails when the page is not what this makes.
"""

import json
from pathlib import Path
from typing import Any

_DOCS = Path(__file__).parent.parent / "docs"
PAGE = _DOCS / "operations/sizing.md"
_MEASURED = _DOCS / "benchmarks/chain.json"
_BEGIN, _END = "<!-- costs: made by scripts/write_sizing_page.py -->\n", "<!-- end of the costs -->\n"
_ROW = "saturated, 1 webhooks"
_PER_DAY = (100_000, 1_000_000, 10_000_000, 50_000_000)
_SECONDS_OF_A_DAY = 86_400
_PEAK = 5


def render() -> str:
    """The page, with its costs as they were measured last."""
    before, rest = PAGE.read_text().split(_BEGIN)
    after = rest.split(_END)[1]
    return f"{before}{_BEGIN}{_costs(json.loads(_MEASURED.read_text()))}{_END}{after}"


def _costs(report: dict[str, Any]) -> str:
    [row] = [row for row in report["rows"] if row["name"] == _ROW]
    passages = sorted(row["passages"], key=lambda one: sum(one["cpu"].values()))
    one = passages[len(passages) // 2]
    cpu, disk = sum(one["cpu"].values()), sum(one["disk"].values())
    shares = ", ".join(f"{name} {round(value)}" for name, value in sorted(one["cpu"].items(), key=lambda it: -it[1]))
    facts = report["facts"]
    lines = [
        f"An event took {round(cpu)} µs of CPU time ({facts['cpu']}; {shares}),",
        f"{round(disk)} bytes of tables and indexes, and {round(one['wal'])} bytes of write-ahead log.",
        "",
        f"| events a day | mean, events/s | cores when {_PEAK} times as busy | disk a day | write-ahead log a day |",
        "|--:|--:|--:|--:|--:|",
        *(_row(events, cpu=cpu, disk=disk, wal=one["wal"]) for events in _PER_DAY),
    ]
    return "\n".join(lines) + "\n"


def _row(events: int, *, cpu: float, disk: float, wal: float) -> str:
    mean = events / _SECONDS_OF_A_DAY
    cells = [f"{events:,}".replace(",", " "), f"{mean:.0f}", f"{mean * _PEAK * cpu / 1e6:.2f}"]
    return f"| {' | '.join([*cells, *(f'{events * size / 1e9:.1f} GB' for size in (disk, wal))])} |"


if __name__ == "__main__":
    PAGE.write_text(render())
