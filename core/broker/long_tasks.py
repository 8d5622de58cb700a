"""Tasks that take seconds leave a process of their worker to those that take milliseconds, which are for events."""

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

# So long is one at work before others of its kind may have its place.
TURN_SECONDS = 5.0
# Made by the parent of a worker's processes, when it imports its tasks. What a process has locked of it is free when it
# ends, however it does.
_places = tempfile.TemporaryFile()  # noqa: SIM115 - for as long as the process


@contextmanager
def long_task() -> Iterator[bool]:
    """Whether there is a place for one more. Otherwise the next wake-up, or beat's, gets on with the work."""
    places = range(max(1, settings.CELERY_WORKER_CONCURRENCY - 1))
    number = next((number for number in places if _is_locked(number)), None)
    try:
        yield number is not None
    finally:
        if number is not None:
            fcntl.lockf(_places, fcntl.LOCK_UN, 1, number)


def _is_locked(number: int) -> bool:
    try:
        fcntl.lockf(_places, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
    except OSError:
        return False
    return True
