"""Run the checks: each in a thread of its own, so that none is waited for longer than its time, whatever it does."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict

from django.db import DatabaseError, connections

from installation.doctor.checks import Check, Visit
from installation.doctor.data import CHECKS as OF_DATA
from installation.doctor.disk import CHECKS as OF_DISK
from installation.doctor.findings import CheckOutcome, Finding, Status, problem, skipped
from installation.doctor.mail import CHECKS as OF_MAIL
from installation.doctor.postgresql import CHECKS as OF_POSTGRESQL
from installation.doctor.processes import CHECKS as OF_PROCESSES
from installation.doctor.proxy import CHECKS as OF_PROXY
from installation.doctor.redis_and_broker import CHECKS as OF_REDIS
from installation.doctor.settings_checks import CHECKS as OF_SETTINGS
from observability.logs import redact

logger = logging.getLogger(__name__)
CHECK_SECONDS = 5.0
ALL_SECONDS = 60.0

# In the order in which people read them.
ALL: tuple[Check, ...] = (
    *OF_SETTINGS,
    *OF_POSTGRESQL,
    *OF_DATA,
    *OF_REDIS,
    *OF_PROCESSES,
    *OF_DISK,
    *OF_PROXY,
    *OF_MAIL,
)
PARTS: tuple[str, ...] = tuple(dict.fromkeys(check.part for check in ALL))


def examine(
    visit: Visit,
    *,
    skip: Collection[str] = (),
    check_seconds: float = CHECK_SECONDS,
    all_seconds: float = ALL_SECONDS,
) -> list[Finding]:
    """One finding for each check, without those of the parts to `skip`. Never raises; takes `all_seconds` at most."""
    chosen = [check for check in ALL if check.part not in skip]
    until = time.monotonic() + all_seconds
    found: dict[str, CheckOutcome] = {}
    lanes = [
        threading.Thread(
            target=_run_lane,
            args=([check for check in chosen if check.lane == lane], visit, found, until, check_seconds),
        )
        for lane in dict.fromkeys(check.lane for check in chosen)
    ]
    for thread in lanes:
        thread.start()
    for thread in lanes:
        thread.join()
    return [Finding(part=check.part, name=check.name, **asdict(found[check.name])) for check in chosen]


def _run_lane(
    checks: Sequence[Check], visit: Visit, found: dict[str, CheckOutcome], until: float, check_seconds: float
) -> None:
    def run(check: Check) -> CheckOutcome:
        return run_bounded(check, visit, seconds=min(check_seconds, until - time.monotonic()))

    found.update(run_in_order(checks, run))


def run_in_order(checks: Iterable[Check], run: Callable[[Check], CheckOutcome]) -> dict[str, CheckOutcome]:
    """One after another; what needs a check that found a problem, or was not run itself, is not run."""
    found: dict[str, CheckOutcome] = {}
    failed: set[str] = set()
    for check in checks:
        lacks = check.needs in failed
        found[check.name] = skipped(f"Not checked, because of {check.needs}.") if lacks else run(check)
        if lacks or found[check.name].status is Status.PROBLEM:
            failed.add(check.name)
    return found


def run_bounded(check: Check, visit: Visit, *, seconds: float) -> CheckOutcome:
    """What the check says, or that it said nothing in time. One that hangs is left behind."""
    if seconds <= 0:
        return skipped("Not checked: the others took too long.")
    said: list[CheckOutcome] = []
    thread = threading.Thread(target=lambda: said.append(run_alone(check, visit)), daemon=True)
    thread.start()
    thread.join(seconds)
    if said:
        return said[0]
    return problem(
        f"This check did not end within {seconds:.0f} s.",
        "Something that it queries hangs: check the network, locks in PostgreSQL, and mounted disks.",
    )


def run_alone(check: Check, visit: Visit) -> CheckOutcome:
    """In a thread that ends with it: the database connection of the thread goes too."""
    try:
        return check.run(visit)
    except Exception as error:  # whatever it is, the operator hears of it, and of the other checks
        logger.debug("the check %s failed", check.name, exc_info=True)
        return problem(
            f"This check failed: {describe(error)}.",
            "Fix what it names. If that tells you nothing, report it with this line.",
        )
    finally:
        connections.close_all()


def describe(error: BaseException) -> str:
    """The kind of error; of the database's the first line too. Others may quote a URL with its password."""
    kind = type(error).__name__
    lines = str(error).strip().splitlines() if isinstance(error, DatabaseError) else []
    return f"{kind}, {redact(lines[0])}" if lines else kind
