"""What Celery's processes do at their start, around each task, and at their end, so that they can be observed."""

import os
from datetime import UTC, datetime
from typing import Any

from celery import signals
from structlog.contextvars import bind_contextvars, clear_contextvars

from core.broker.messages import WAIT_SECONDS
from observability.metrics.folder import add_up_ended, clean_folder, folder


@signals.before_task_publish.connect
def _say_how_long_to_wait(headers: dict[str, Any], **_: Any) -> None:
    """Beside Celery's `eta`: the worker that takes the message may have another clock."""
    if headers.get("eta"):
        left = datetime.fromisoformat(headers["eta"]) - datetime.now(UTC)
        headers[WAIT_SECONDS] = left.total_seconds()


@signals.worker_init.connect
@signals.beat_init.connect
def _check_schema(**_: Any) -> None:
    """Before there is anything else: code that is too old for the data ends here."""
    from observability.schema_version import check_schema_at_start  # noqa: PLC0415 - the settings load later

    check_schema_at_start()


@signals.worker_init.connect
def _start_parent(**_: Any) -> None:
    if folder():
        clean_folder()


@signals.worker_ready.connect
def _export(**_: Any) -> None:
    """After the pool has forked: its processes have no use for the server's socket."""
    from observability.metrics.exporter import start_exporter  # noqa: PLC0415 - the settings load later than this

    start_exporter()


@signals.worker_ready.connect
def _say_that_it_lives(sender: Any, **_: Any) -> None:
    """The parent, for each queue that it takes tasks from. A process of the pool opens two connections at most."""
    from django.conf import settings  # noqa: PLC0415 - likewise

    from observability.signs_of_life import start_sign  # noqa: PLC0415 - likewise

    connections = 2 * sender.controller.concurrency
    roles = {settings.CELERY_TASK_DEFAULT_QUEUE: "worker", settings.SENDING_QUEUE: "sender"}
    for queue in sender.app.amqp.queues.consume_from:
        if queue in roles:
            start_sign(roles[queue], connections=connections)
            connections = 0  # counted once


@signals.worker_ready.connect
def _watch(sender: Any, **_: Any) -> None:
    from core.broker.watchdog import watch_worker  # noqa: PLC0415 - likewise

    watch_worker(sender)


@signals.worker_process_init.connect
def _start_process(**_: Any) -> None:
    from core.metrics import start_process  # noqa: PLC0415 - likewise
    from observability.tracing import start_tracing  # noqa: PLC0415 - likewise

    start_tracing()
    start_process("worker")


@signals.beat_init.connect
def _watch_beat(**_: Any) -> None:
    from core.broker.watchdog import watch_beat  # noqa: PLC0415 - likewise

    watch_beat()


@signals.beat_init.connect
@signals.beat_embedded_init.connect
def _start_beat(**_: Any) -> None:
    from core.metrics import start_process, write_gathered_if_due  # noqa: PLC0415 - likewise
    from observability.signs_of_life import start_sign  # noqa: PLC0415 - likewise

    start_process("beat")
    signals.after_task_publish.connect(lambda **_: write_gathered_if_due(), weak=False)
    start_sign("beat")


@signals.task_prerun.connect
def _bind(task_id: str, task: Any, **_: Any) -> None:
    clear_contextvars()
    bind_contextvars(task=task.name, task_id=task_id)


@signals.task_postrun.connect
def _unbind(**_: Any) -> None:
    from core.metrics import write_gathered_if_due  # noqa: PLC0415 - likewise

    write_gathered_if_due()
    clear_contextvars()


@signals.worker_process_shutdown.connect
def _end_process(**_: Any) -> None:
    """A worker's processes end without running what Python runs at its end.

    What is in flight is waited for. One that is killed cannot write its numbers; the next scrape adds them up then.
    """
    from core.metrics import write_gathered  # noqa: PLC0415 - likewise
    from delivery.webhooks.sending_process import sending_process  # noqa: PLC0415 - likewise
    from observability.tracing import stop_tracing  # noqa: PLC0415 - likewise

    sending_process.stop()
    stop_tracing()
    write_gathered()
    add_up_ended(os.getpid())
