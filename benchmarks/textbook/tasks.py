from celery import shared_task

from benchmarks.textbook.models import Event


@shared_task
def process_event(event_id: str) -> str:
    """Where a real project would do its work with the event."""
    return Event.objects.get(pk=event_id).type
