"""Which processes live, by the signs that they leave in Redis."""

from collections.abc import Callable, Sequence

from core.version import VERSION, revision
from installation.doctor.checks import Check, Visit
from installation.doctor.clocks import WARNING_SECONDS, judge_clock
from installation.doctor.findings import CheckOutcome, good, problem, warning
from installation.doctor.redis_and_broker import LANE
from observability.signs_of_life import LATE_SECONDS, Sign, beat_age, read_signs

PART = "processes"
_MOST_LISTED = 5


def _signs(visit: Visit) -> Sequence[Sign]:
    """Read once: each of these checks needs them all."""
    if visit.signs is None:
        visit.signs = read_signs()
    return visit.signs


def _of_role(role: str, what: str) -> Callable[[Visit], CheckOutcome]:
    def look(visit: Visit) -> CheckOutcome:
        living = [sign for sign in _signs(visit) if sign.role == role]
        if living:
            return good(f"{len(living)} {'runs' if len(living) == 1 else 'run'}: {_listed(living)}.")
        return problem(f"No {role} shows a sign of life: {what}.", _start(role))

    return look


def _beat(visit: Visit) -> CheckOutcome:
    living = [sign for sign in _signs(visit) if sign.role == "beat"]
    if not living:
        return problem("No beat shows a sign of life: retries are not sent, and nothing is cleaned up.", _start("beat"))
    if len(living) > 1:
        return problem(
            f"{len(living)} beats run, {_listed(living)}: every periodic task is sent more than once.",
            "Stop all but one. There must be exactly one in the whole installation, on whichever host.",
        )
    late = beat_age()
    if late is None or late >= LATE_SECONDS:
        seen = "has not sent a task yet" if late is None else f"sent its last task {late:.0f} s ago"
        return problem(
            f"Beat is alive and {seen}.", "Check that the broker answers, then restart beat and look at its log."
        )
    return good(f"Exactly one beat runs: {living[0].name}.")


def _versions(visit: Visit) -> CheckOutcome:
    others = [sign for sign in _signs(visit) if _is_another(sign)]
    if not others:
        return good(f"All running processes are of this version, {VERSION}.")
    return warning(
        f"{len(others)} processes are of another version than this command ({VERSION}, revision {revision()}):"
        f" {_listed(others, with_version=True)}.",
        "Restart them, or run the command of the release that runs.",
    )


def _is_another(sign: Sign) -> bool:
    if sign.version != VERSION:
        return True
    return "unknown" not in (sign.revision, revision()) and sign.revision != revision()


def _clocks(visit: Visit) -> CheckOutcome:
    """Each against Redis' clock, at the moment when it wrote: both were read within a second."""
    apart = sorted((sign for sign in _signs(visit) if _apart(sign) > WARNING_SECONDS), key=_apart, reverse=True)
    if not apart:
        return good("The clocks of all processes agree.")
    named = [f"{sign.name} ({sign.clock - sign.written_at:+.0f} s)" for sign in apart]
    return judge_clock(f"the hosts of {_shortened(named)}", _apart(apart[0]))


def _apart(sign: Sign) -> float:
    return abs(sign.clock - sign.written_at)


def _listed(signs: list[Sign], *, with_version: bool = False) -> str:
    names = [f"{sign.name} ({sign.version}, {sign.revision})" if with_version else sign.name for sign in signs]
    return _shortened(names)


def _shortened(names: list[str]) -> str:
    more = len(names) - _MOST_LISTED
    return ", ".join(names[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def _start(role: str) -> str:
    return (
        f"Start it: `systemctl start events-{role}`, `docker compose up --detach {role}`. If it runs: it must have the"
        " same REDIS_URL as this command, and gives its sign within some 5 s after Redis is back."
    )


def _needing(name: str, run: Callable[[Visit], CheckOutcome]) -> Check:
    return Check(part=PART, name=name, run=run, lane=LANE, needs="redis")


CHECKS = (
    _needing("web", _of_role("web", "nobody accepts requests")),
    _needing("worker", _of_role("worker", "accepted events are not processed")),
    _needing("sender", _of_role("sender", "webhooks are not sent")),
    _needing("beat", _beat),
    _needing("process_versions", _versions),
    _needing("process_clocks", _clocks),
)
