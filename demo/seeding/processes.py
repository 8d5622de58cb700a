"""The weeks of a plan, each written by one of several processes. Like everything that they import, without Django."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from queue import Empty
from typing import Any

import psycopg

from demo.seeding.filling import Week, fill_week
from demo.seeding.history import Counts
from demo.seeding.plan import Plan

# Set once in each process.
_reports: Any = None


def fill_weeks(
    conninfo: str, plan: Plan, weeks: Sequence[Week], *, processes: int, report: Callable[[int], object]
) -> Iterator[tuple[Week, Counts]]:
    """The weeks as they are committed. `report` is told how many more events have been written."""
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_start, initargs=(reports,))
    with pool:
        running = {pool.submit(_fill, conninfo, plan, week): week for week in weeks}
        try:
            while running:
                done = wait(running, timeout=0.5, return_when="FIRST_COMPLETED").done
                _tell(reports, report)
                for future in done:
                    yield running.pop(future), future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        _tell(reports, report)


def _start(reports: Any) -> None:
    global _reports  # noqa: PLW0603 - a queue cannot be passed with a task
    _reports = reports


def _fill(conninfo: str, plan: Plan, week: Week) -> Counts:
    with psycopg.connect(conninfo) as connection:
        return fill_week(connection, plan, week, _reports.put)


def _tell(reports: Any, report: Callable[[int], object]) -> None:
    try:
        while True:
            report(reports.get_nowait())
    except Empty:
        pass
