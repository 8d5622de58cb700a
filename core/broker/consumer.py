"""How a Celery worker takes messages: it tries to connect again for ever, and drops what is no task of ours."""

import warnings
from collections.abc import Callable
from itertools import count
from typing import Any

from celery.exceptions import CPendingDeprecationWarning
from celery.utils.log import get_logger
from celery.worker import consumer
from celery.worker.state import maybe_shutdown

from core.broker.messages import ForeignMessageError, dropped_messages, task_headers
from core.broker.watchdog import show_life

logger = get_logger(__name__)
# Celery's own pauses grow to 30 s, and after a hundred of them it gives up.
_PAUSE_SECONDS = 2
_SAID_EVERY = 15
# It thinks that ending running tasks with a lost connection will be its default some day. The setting is ours.
warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)


class Consumer(consumer.Consumer):
    """Named in CELERY_WORKER_CONSUMER."""

    connection_errors: Any
    channel_errors: Any

    def ensure_connected(self, conn: Any) -> Any:
        tried = count()

        def say(error: Exception, pause: float) -> None:
            if next(tried) % _SAID_EVERY == 0:
                logger.error("no connection to the broker %s, trying again every %s s: %s", conn.as_uri(), pause, error)

        def wait() -> None:
            show_life()  # a restart would not bring the broker back
            maybe_shutdown()

        connected = conn.ensure_connection(
            say,
            interval_start=_PAUSE_SECONDS,
            interval_step=0,
            interval_max=_PAUSE_SECONDS,
            callback=wait,
        )
        self.first_connection_attempt = False
        return connected

    def create_task_handler(self, *arguments: Any) -> Callable[[Any], Any]:
        handle = super().create_task_handler(*arguments)

        def handle_ours(message: Any) -> Any:
            try:
                message.headers = task_headers(message, self.app)
                return handle(message)
            except (*self.connection_errors, *self.channel_errors):
                raise
            except ForeignMessageError as foreign:
                self._drop(message, foreign)
            except Exception as error:
                logger.exception("a message could not be taken")
                self._drop(message, type(error).__name__)

        return handle_ours

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._drop(message, type(exc).__name__)

    def _drop(self, message: Any, reason: object) -> None:
        dropped_messages.tell(reason)
        if not message.acknowledged:
            message.reject_log_error(logger, self.connection_errors)
