"""Tell Celery that deliveries are due: a hint that may be lost; beat's sweep finds what it lost."""

from ingestion.wakeup import Waker

_waker = Waker("delivery.send_due", queue="deliveries")


def wake_sending() -> None:
    """Call after the commit. Returns at once."""
    _waker.wake()
