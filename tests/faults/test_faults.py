"""Each row of the table: a fault under load, and everything is well again afterwards, without any help."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from tests.faults.conftest import Sites
from tests.faults.health import Watch
from tests.faults.load import Load
from tests.faults.proof import (
    Finding,
    consume_inbox,
    is_drained,
    judge_answers,
    judge_data,
    judge_unnoticed,
    what_is_left,
)
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.sites import HOOK, Site
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

# Load before the fault, so that it meets everything at work, and after it, so that new work comes, too.
_BEFORE, _AFTER = 2.0, 3.0


def marks(scenario: Scenario) -> list[pytest.MarkDecorator]:
    return [pytest.mark.faults, pytest.mark.begin_first] if scenario.in_ci else [pytest.mark.long]


@pytest.mark.parametrize("scenario", [pytest.param(one, id=one.name, marks=marks(one)) for one in SCENARIOS])
def test_a_fault_that_has_passed_leaves_nothing_broken(
    scenario: Scenario, sites: Sites, findings: dict[str, Finding]
) -> None:
    site, sound, log = sites.get(scenario.opening), False, ""
    said = site.platform.log.stat().st_size
    try:
        finding = findings[scenario.name] = run(scenario, site)
        sound, log = not (finding.problems or scenario.spoils_site), site.log(said)
    finally:
        if not sound:
            sites.close()
    if finding.problems:
        pytest.fail("\n".join([scenario.title, *finding.problems, finding.ready, log]), pytrace=False)


def run(scenario: Scenario, site: Site) -> Finding:
    finding = Finding()
    wait_until(site.platform.is_ready, seconds=60)
    consume_inbox(site.platform.url, site.platform.key)  # from now on it has a delivery of each event
    with under_load(scenario, site) as (load, watch):
        began = time.monotonic()
        wait_until(lambda: len(load.acknowledged) > 0)
        time.sleep(_BEFORE)
        with scenario.fault(site):
            time.sleep(scenario.seconds)
        over = time.monotonic()
        time.sleep(_AFTER)
        load.stop()
        while time.monotonic() - over < scenario.drains and finding.drained_after is None:
            if watch.reads_again() and is_drained(site.postgres, load):
                finding.drained_after = time.monotonic() - over
            time.sleep(0.2)
    if finding.drained_after is None:
        left = what_is_left(site.postgres, load)
        reads = "" if watch.reads_again() else "; the newest event cannot be read"
        finding.problems.append(f"not drained after {scenario.drains:.0f} s: {left}{reads}")
    judge_data(finding, site.postgres, load, site.receiver.ids(HOOK))
    judge_answers(finding, load, watch, names=scenario.names, web_is_away=scenario.web_is_away)
    if scenario.unnoticed:
        arrivals = [one.at for one in site.receiver.received if one.path == HOOK and one.at > began]
        judge_unnoticed(finding, load, watch, arrivals)
    if not finding.problems:
        leased = consume_inbox(site.platform.url, site.platform.key)
        finding.expect("leased from the inbox", len(set(leased)), finding.stored)
    return finding


@contextmanager
def under_load(scenario: Scenario, site: Site) -> Iterator[tuple[Load, Watch]]:
    load = Load(url=f"http://127.0.0.1:{site.port}", key=site.platform.key, type=f"{scenario.name}.{uuid4().hex[:8]}")
    watch = Watch(port=site.port, key=site.platform.key)
    load.start()
    watch.start()
    try:
        yield load, watch
    finally:
        load.stop()
        load.give_up()
        watch.stop()
