"""The weeks of a plan, each written by one of several processes. Like everything that they import, without Django."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from queue import Empty
from typing import Any

import psycopg

from demo.seeding.filling import Week, fill_week, naming, not_written
from demo.seeding.history import Counts
from demo.seeding.plan import Plan

# Set once in each process.
_reports: Any = None


def fill_weeks(
    conninfo: str, plan: Plan, weeks: Sequence[Week], *, processes: int, report: Callable[[int], object]
) -> Iterator[tuple[Week, Counts]]:
    """The weeks as they are committed. `report` is told how many more events have been written.

    Raises NotWrittenError. Whatever ends it early ends the processes too, with what they were writing.
    """
    others = set(multiprocessing.active_children())
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
                    yield running[future], future.result()
                    del running[future]
        except BrokenProcessPool as error:
            why = "a process was killed, as happens when memory runs out"
            raise not_written(running.values(), why) from error
        finally:
            if running:
                _end(set(multiprocessing.active_children()) - others)
        _tell(reports, report)


def _start(reports: Any) -> None:
    global _reports  # noqa: PLW0603 - a queue cannot be passed with a task
    _reports = reports


def _end(processes: Iterable[BaseProcess]) -> None:
    """At once, whatever they wait for. The pool waits for its processes, and has no means to end them before 3.14."""
    for process in processes:
        process.terminate()


def _fill(conninfo: str, plan: Plan, week: Week) -> Counts:
    with naming(week), psycopg.connect(conninfo) as connection:
        return fill_week(connection, plan, week, _reports.put)


def _tell(reports: Any, report: Callable[[int], object]) -> None:
    try:
        while True:
            report(reports.get_nowait())
    except Empty:
        pass
