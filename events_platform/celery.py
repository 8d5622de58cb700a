"""The Celery app. Its messages are wake-ups: the rows in PostgreSQL say what there is to do."""

import gc
import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_process_init
from django.conf import settings

from core.broker.messages import refuse_compression
from core.broker.redis_transport import use_our_transport
from observability.metrics.folder import choose_folder, make_folder

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "events_platform.settings")
# Before anything imports prometheus_client. A worker that tells of its processes needs a folder that they share.
if os.environ.get("METRICS_PORT", "0") not in ("", "0"):
    choose_folder()
make_folder()

use_our_transport()
refuse_compression()
# Celery's own processes load this first. A web server or a command has its settings by now.
if not settings.configured:
    # As long as a task has at most; PostgreSQL goes on with no statement that nobody waits for.
    os.environ.setdefault("DATABASE_STATEMENT_TIMEOUT", "240")

app = Celery("events_platform", fixups=["events_platform.celery_fixup:fixup"])
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def _use_django_logging(**_: Any) -> None:
    """Django has configured the logs; Celery shall not do it again."""


@worker_process_init.connect
def _leave_modules_out_of_garbage_collection(**_: Any) -> None:
    """What is loaded by now stays loaded: without this, each full collection looks at all of it again."""
    gc.collect()
    gc.freeze()


from observability import worker_signals  # noqa: E402, F401 - it connects to Celery's signals
