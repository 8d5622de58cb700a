"""Clocks that differ: retries come early, leases end too soon, and signatures and codes are refused."""

from installation.doctor.findings import CheckOutcome, good, problem, warning

WARNING_SECONDS = 2.0
PROBLEM_SECONDS = 30.0


def compare_clocks(whose: str, *, theirs: float, before: float, after: float) -> CheckOutcome:
    """`theirs` was read between our `before` and `after`, all Unix time."""
    apart = max(theirs - after, before - theirs, 0.0)
    return judge_clock(whose, apart)


def judge_clock(whose: str, apart: float) -> CheckOutcome:
    """`apart`: seconds between that clock and the one it is compared with."""
    if apart <= WARNING_SECONDS:
        return good(f"The clock of {whose} agrees.")
    say = problem if apart > PROBLEM_SECONDS else warning
    return say(
        f"The clock of {whose} differs by {apart:.0f} s from the one it is compared with.",
        "Run NTP on both hosts (`timedatectl set-ntp true`, or chrony), and see in `timedatectl` which one is wrong.",
    )
