"""Celery's entrances to what the console does in the background. Each may run twice, late or never."""

from celery import shared_task
from django.utils import timezone

from console.exports import jobs as exports
from organizations.jobs.running import take_turn


@shared_task(name="console.run_exports")
def run_exports() -> None:
    take_turn(exports.run_exports)


@shared_task(name="console.remove_expired_exports")
def remove_expired_exports() -> None:
    exports.remove_expired_exports(now=timezone.now())
