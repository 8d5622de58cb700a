"""One site for all rows in a row that run on the same; a row that did not hold leaves none behind."""

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack

import pytest

from tests.faults import page
from tests.faults.proof import Finding
from tests.faults.scenarios import SCENARIOS
from tests.faults.sites import Opening, Site

_findings = pytest.StashKey[dict[str, Finding]]()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """Once the order is chosen at random, let the rows come in that of the table: those on the same site together."""
    yield
    order = {one.name: number for number, one in enumerate(SCENARIOS)}
    rows = [(number, item) for number, item in enumerate(items) if _scenario(item) in order]
    sorted_rows = sorted((item for _, item in rows), key=lambda item: order[_scenario(item)])
    for (number, _), item in zip(rows, sorted_rows, strict=True):
        items[number] = item


def _scenario(item: pytest.Item) -> str:
    """The name of its row, or nothing."""
    call = getattr(item, "callspec", None)
    return str(getattr(call.params.get("scenario"), "name", "")) if call else ""


class Sites:
    """At most one is open."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._opening: Opening | None = None
        self._site: Site | None = None

    def get(self, opening: Opening) -> Site:
        if self._site is None or self._opening is not opening:
            self.close()
            self._site, self._opening = self._stack.enter_context(opening()), opening
        return self._site

    def close(self) -> None:
        self._site = self._opening = None
        self._stack.close()


@pytest.fixture(scope="session")
def sites() -> Iterator[Sites]:
    open_sites = Sites()
    yield open_sites
    open_sites.close()


@pytest.fixture(scope="session")
def findings(pytestconfig: pytest.Config) -> dict[str, Finding]:
    """What the rows of this run came to, by their names."""
    return pytestconfig.stash.setdefault(_findings, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the table of this run; FAULTS_TABLE=1 writes it into the page when no row was left out."""
    found = config.stash.get(_findings, {})
    if not found:
        return
    skipped = {report.nodeid.rpartition("[")[2].rstrip("]"): report.longrepr[2] for report in
               terminalreporter.stats.get("skipped", []) if isinstance(report.longrepr, tuple)}  # fmt: skip
    terminalreporter.section("faults")
    terminalreporter.write_line(page.table(found, [one for one in SCENARIOS if one.name in found], skipped))
    if os.environ.get("FAULTS_TABLE"):
        left_out = [one.name for one in SCENARIOS if one.name not in found.keys() | skipped.keys()]
        if left_out:
            terminalreporter.write_line(f"{page.PAGE.name} stays as it is: not run were {', '.join(left_out)}")
        else:
            page.write(found, SCENARIOS, skipped)
            terminalreporter.write_line(f"Written: {page.PAGE.name}")
