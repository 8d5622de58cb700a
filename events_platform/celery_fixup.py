"""Celery's support for Django, except for two things that cost more than the work of a worker that has little to do.

A worker's process keeps its connection to PostgreSQL from task to task. Celery closes it before and after each, and a
new one costs PostgreSQL some 15 ms of CPU, since its process has to find everything out anew.

And no process of Celery loads the pages at its start, to check their URLs: Celery drops what the checks find, and
`migrate` has made them before.
"""

from typing import Any

from celery import Celery, states
from celery.fixups.django import DjangoFixup, DjangoWorkerFixup  # type: ignore[attr-defined]
from django.db import close_old_connections, connections


class _WorkerFixup(DjangoWorkerFixup):  # type: ignore[misc]
    def validate_models(self) -> None:
        """Before the tasks are imported."""
        self.django_setup()

    def on_task_prerun(self, sender: Any, **_: Any) -> None:
        """One that has grown old, or does not answer any more, is not used."""
        if not sender.request.is_eager:
            close_old_connections()

    def on_task_postrun(self, sender: Any, state: str = "", **_: Any) -> None:
        """A task that failed, or was stopped in the middle, may have left anything on its connection."""
        if not sender.request.is_eager:
            if state == states.SUCCESS:
                close_old_connections()
            else:
                connections.close_all()
            self.close_cache()


class _Fixup(DjangoFixup):
    _worker_fixup: _WorkerFixup | None

    @property
    def worker_fixup(self) -> _WorkerFixup:
        """Made at the start of a worker: it reads the settings."""
        if self._worker_fixup is None:
            self._worker_fixup = _WorkerFixup(self.app)
        return self._worker_fixup


def fixup(app: Celery) -> _Fixup:
    """Of Celery's argument `fixups`."""
    made = _Fixup(app)
    made.install()
    return made
