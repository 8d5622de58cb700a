"""Celery's entrances to what concerns the platform as a whole. Each may run twice, late or never.

Both work in portions, and send themselves again while there is more; a message that is lost costs the time until
beat's next.
"""

from celery import current_app, shared_task
from django.utils import timezone

from core.broker.wakeup import hint
from lifecycle.erasing.running import run_erasures as _run_erasures
from lifecycle.retention.last_run import LastRun, note_run
from lifecycle.retention.running import apply_retention as _apply_retention
from organizations.jobs.running import take_turn


@shared_task(name="events_platform.retain")
def retain() -> None:
    portion = _apply_retention()
    if portion:
        removed = {what: count for what, count in portion.removed.items() if count}
        note_run(LastRun(at=timezone.now(), removed=removed, is_over=portion.is_over))
    if portion and not portion.is_over:
        current_app.send_task("events_platform.retain", **hint(seconds=60))


@shared_task(name="events_platform.run_erasures")
def run_erasures() -> None:
    if take_turn(_run_erasures):
        current_app.send_task("events_platform.run_erasures", **hint(seconds=60))
