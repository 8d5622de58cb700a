"""The Celery app. Its messages are wake-ups: the rows in PostgreSQL say what there is to do."""

import gc
import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_process_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "events_platform.settings")

app = Celery("events_platform")
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
