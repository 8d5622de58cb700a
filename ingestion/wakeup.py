"""Tell Celery that there is work: a hint that may be lost, sent at most once in a short while."""

import logging
import time

from celery import current_app
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)
# One wake-up drains everything that waits, so more of them within this time would only fill the broker.
PAUSE_SECONDS = 0.05
# While the broker is away nobody waits for it; beat's sweep does the work when it is back.
PAUSE_AFTER_FAILURE_SECONDS = 5.0

_next_at = 0.0


def wake_processing() -> None:
    """Call after the commit. Never raises for a broker that is away."""
    global _next_at  # noqa: PLW0603 - one clock for the process; a race costs one message more
    now = time.monotonic()
    if now < _next_at:
        return
    _next_at = now + PAUSE_SECONDS
    try:
        current_app.send_task("ingestion.process_outbox", kwargs={"settle": True}, expires=60, retry=False)
    except (OperationalError, RedisError, OSError) as error:
        _next_at = time.monotonic() + PAUSE_AFTER_FAILURE_SECONDS
        logger.warning("the wake-up was not sent, the sweep will find the events: %s", type(error).__name__)
