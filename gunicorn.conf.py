"""How gunicorn serves `events_platform.asgi:application`; `gunicorn` reads this file by itself in the checkout."""

import gc
import os
import shutil
import signal
import sys
from pathlib import Path

from core import bounds
from observability.metrics.folder import add_up_ended, choose_folder, clean_folder

logger_class = "events_platform.server.Logger"
_own_folder: Path | None = None

bind = f"{os.environ.get('HOST') or '127.0.0.1'}:{os.environ.get('PORT') or '8000'}"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
worker_class = "events_platform.server.Worker"
worker_connections = bounds.MAX_CONNECTIONS

# Requests in flight may finish; the supervisor waits a little longer than this.
graceful_timeout = 30
# A worker that does not answer its master this long is killed.
timeout = 60
# Behind a proxy that keeps connections open, longer than the proxy's own pause between two requests.
keepalive = 65

# What a proxy says about a request is Django's to believe, by TRUSTED_PROXIES. gunicorn itself would take the word of
# anybody on this host, or at a Unix socket: `X-Forwarded-Proto: https` would make plain HTTP pass for encrypted.
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""

# The server for gunicorn's own control tool would leave a socket in the home folder.
control_socket_disable = True


def on_starting(server: object) -> None:
    """Before the workers fork: where they and the master find each other's numbers."""
    global _own_folder  # noqa: PLW0603 - gunicorn's hooks are functions of this module
    _own_folder = choose_folder()
    clean_folder()


def child_exit(server: object, worker: object) -> None:
    """In the master: the ended worker's counters are kept, its files are not."""
    add_up_ended(worker.pid)  # type: ignore[attr-defined]


def on_exit(server: object) -> None:
    if _own_folder is not None:
        shutil.rmtree(_own_folder, ignore_errors=True)


def post_worker_init(worker: object) -> None:
    """Load what requests will need. It lives as long as the process: no garbage collection needs to look at it again.

    A full collection of Django's and our modules takes tens of milliseconds, in which no request is answered.
    """
    from events_platform.memory import give_memory_back  # noqa: PLC0415 - no code of ours before the workers fork

    give_memory_back()
    from observability.schema_version import check_schema_at_start  # noqa: PLC0415 - the settings load with it

    try:
        check_schema_at_start()
    except SystemExit:
        # The first one's end ends the master, with the same status; two at once would be a traceback in its log.
        if 1 < worker.age <= workers:  # type: ignore[attr-defined]
            signal.pause()
            sys.exit()
        raise
    from observability.tracing import start_tracing  # noqa: PLC0415 - likewise

    start_tracing()
    from core.metrics import start_process  # noqa: PLC0415 - likewise

    start_process("web")
    from events_platform.preloading import load_pages  # noqa: PLC0415 - likewise

    load_pages()

    from django.conf import settings  # noqa: PLC0415 - likewise

    from observability.signs_of_life import start_sign  # noqa: PLC0415 - likewise

    # Those of the pages, and the intake's three: one writes, two look keys up.
    start_sign("web", connections=settings.DATABASE_POOL_SIZE + 3)
    gc.collect()
    gc.freeze()
