"""What the command line chooses, the same for every benchmark."""

import os
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from installation.local.data_dir import CHECKOUT, DataDir

Generator = Literal["auto", "wrk", "python"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """`seconds` is the length of one measurement, `rounds` how often it is repeated; `rows` is in the rows' names.

    `minutes` is the length of the soak.
    """

    only: str | None
    seconds: float
    rounds: int
    output: Path
    publish: bool
    generator: Generator
    processes: int
    rows: str
    minutes: float
    events: int
    requests: int
    keep: Path | None


def read_options(arguments: Sequence[str] | None, *, names: Iterable[str]) -> Options:
    """The options; ends the process with a usage message when they are wrong."""
    parser = ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=sorted(names), help="run this benchmark alone")
    parser.add_argument("--rows", default="", metavar="TEXT", help="only rows whose name contains this")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of one measurement (8)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each row, medians are shown (3)")
    parser.add_argument("--output", type=Path, help="folder of the results ($EVENTS_DATA_DIR/benchmarks)")
    parser.add_argument("--publish", action="store_true", help="write the results to docs/benchmarks")
    parser.add_argument("--generator", choices=["auto", "wrk", "python"], default="auto", help="the load generator")
    parser.add_argument("--processes", type=int, default=_processes(), help="processes of the Python load generator")
    parser.add_argument("--minutes", type=float, default=60.0, help="length of the soak (60)")
    parser.add_argument("--events", type=int, default=10_000_000, help="events of console and retention (10 000 000)")
    parser.add_argument("--requests", type=int, default=20, help="requests of each of the console's pages (20)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the console's events are, or stay, seeded")
    chosen = parser.parse_args(arguments)
    if chosen.seconds <= 0 or chosen.rounds < 1 or chosen.processes < 1:
        parser.error("--seconds, --rounds and --processes must be positive")
    if chosen.events < 10_000 or chosen.requests < 1:
        parser.error("--events must be at least 10000, and --requests positive")
    return Options(
        only=chosen.only,
        seconds=chosen.seconds,
        rounds=chosen.rounds,
        output=_folder(chosen.output, publish=chosen.publish),
        publish=chosen.publish,
        generator=chosen.generator,
        processes=chosen.processes,
        rows=chosen.rows,
        minutes=chosen.minutes,
        events=chosen.events,
        requests=chosen.requests,
        keep=chosen.keep,
    )


def _folder(output: Path | None, *, publish: bool) -> Path:
    if publish:
        return CHECKOUT / "docs" / "benchmarks"
    return output or DataDir.from_environment(os.environ).root / "benchmarks"


def _processes() -> int:
    """One on a small machine: every further one takes a core from the server under test."""
    return max(1, min(4, (os.cpu_count() or 1) // 4))
