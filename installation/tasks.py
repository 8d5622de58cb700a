"""Celery's entrance to what the platform looks at of itself. It may run twice, late or never."""

from celery import shared_task

from installation.health.samples import take_sample


@shared_task(name="installation.take_sample")
def sample() -> None:
    take_sample()
