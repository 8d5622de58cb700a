"""Tell Celery that events wait to be processed: a hint that may be lost; beat's sweep finds what it lost."""

from core.broker.wakeup import Waker

_waker = Waker("ingestion.process_outbox")


def wake_processing() -> None:
    """Call after the commit."""
    _waker.wake()
