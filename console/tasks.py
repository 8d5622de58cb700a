"""Celery's entrances to what the console does in the background. Each may run twice, late or never."""

from celery import shared_task
from django.utils import timezone

from console.exports import jobs as exports
from core.broker.long_tasks import TURN_SECONDS, long_task


@shared_task(name="console.run_exports")
def run_exports() -> None:
    with long_task() as has_place:
        if has_place:
            exports.run_exports(seconds=TURN_SECONDS)


@shared_task(name="console.remove_expired_exports")
def remove_expired_exports() -> None:
    exports.remove_expired_exports(now=timezone.now())
