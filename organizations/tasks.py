"""Celery's entrances to the operations on organizations."""

from celery import shared_task

from organizations import key_use


@shared_task(name="organizations.record_key_use")
def record_key_use() -> None:
    key_use.record_key_use()
