"""How gunicorn serves `events_platform.asgi:application`; `gunicorn` reads this file by itself in the checkout."""

import gc
import os

bind = f"{os.environ.get('HOST') or '127.0.0.1'}:{os.environ.get('PORT') or '8000'}"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)
worker_class = "events_platform.server.Worker"

# Requests in flight may finish; the supervisor waits a little longer than this.
graceful_timeout = 30
# A worker that does not answer its master this long is killed.
timeout = 60
# Behind a proxy that keeps connections open, longer than the proxy's own pause between two requests.
keepalive = 65

# The server for gunicorn's own control tool would leave a socket in the home folder.
control_socket_disable = True


def post_worker_init(worker: object) -> None:
    """What is loaded by now lives as long as the process: no garbage collection needs to look at it again.

    A full collection of Django's and our modules takes tens of milliseconds, in which no request is answered.
    """
    gc.collect()
    gc.freeze()
