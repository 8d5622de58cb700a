"""How far a retry of dead letters is: what is due again, and how the attempts after that ended."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from delivery.models import DeadLetterRetry

# A page that was left open asks no longer.
WATCHED = timedelta(hours=6)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`waiting` are due again and not tried yet; `left` is how long it takes at the rate so far, if that is known.

    It `is_over` when everything that it made due was tried. `is_watched`: the page is to be renewed by itself.
    """

    total: int
    delivered: int
    failed_again: int
    waiting: int
    per_second: float
    left: float | None
    is_over: bool
    is_watched: bool

    @property
    def settled(self) -> int:
        return self.delivered + self.failed_again

    @property
    def widths(self) -> dict[str, float]:
        """Of the parts of a bar that is 100 wide."""
        parts = {"delivered": self.delivered, "failed": self.failed_again, "waiting": self.waiting}
        return {name: round(100 * number / max(1, self.total), 2) for name, number in parts.items()}

    @property
    def starts(self) -> dict[str, float]:
        widths = self.widths
        return {"failed": widths["delivered"], "waiting": widths["delivered"] + widths["failed"]}


def progress_of(job: DeadLetterRetry, *, now: datetime) -> Progress:
    """Of a job with its outcomes."""
    delivered, failed_again = job.outcomes.delivered, job.outcomes.failed_again
    settled = delivered + failed_again
    total = max(job.total if job.is_running else job.done, settled)
    is_over = not job.is_running and settled >= total
    age = now - job.created_at
    per_second = settled / max(1.0, age.total_seconds())
    return Progress(
        total=total,
        delivered=delivered,
        failed_again=failed_again,
        waiting=max(0, job.done - settled),
        per_second=per_second,
        left=(total - settled) / per_second if per_second and not is_over else None,
        is_over=is_over,
        is_watched=not is_over and age < WATCHED,
    )
