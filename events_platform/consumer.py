"""How a Celery worker holds on to its broker: it tries again for ever, and soon after the broker is back."""

from typing import Any

from celery.utils.log import get_logger
from celery.worker import consumer
from celery.worker.state import maybe_shutdown

from events_platform.watchdog import show_life

logger = get_logger(__name__)
# Celery's own pauses grow to 30 s, and after a hundred of them it gives up.
_FIRST_PAUSE_SECONDS = 1
_LONGEST_PAUSE_SECONDS = 5


class Consumer(consumer.Consumer):
    """Named in CELERY_WORKER_CONSUMER."""

    def ensure_connected(self, conn: Any) -> Any:
        def say(error: Exception, pause: float) -> None:
            logger.error("no connection to the broker %s, trying again in %s s: %s", conn.as_uri(), pause, error)

        def wait() -> None:
            show_life()  # a restart would not bring the broker back
            maybe_shutdown()

        connected = conn.ensure_connection(
            say,
            interval_start=_FIRST_PAUSE_SECONDS,
            interval_step=1,
            interval_max=_LONGEST_PAUSE_SECONDS,
            callback=wait,
        )
        self.first_connection_attempt = False
        return connected
