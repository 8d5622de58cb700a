"""Metrics of a host that has workers and no web server: a small HTTP server in Celery's parent process."""

import logging
import threading
from collections.abc import Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from django.conf import settings

from observability.metrics.exposition import CONTENT_TYPE, FORWARDED, ProcessesCollector, exposition, may_read

logger = logging.getLogger(__name__)
_processes = ProcessesCollector()


class _Handler(WSGIRequestHandler):
    timeout = 5.0  # a client that says nothing must not hold up the next one

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class says so
        """A scrape is not worth a line."""


def start_exporter() -> WSGIServer | None:
    """Answer on METRICS_HOST and METRICS_PORT from a thread; None when there is no port, or another holds it."""
    if not settings.METRICS_PORT:
        return None
    try:
        server = make_server(settings.METRICS_HOST, settings.METRICS_PORT, _answer, handler_class=_Handler)
    except OSError as error:
        # Workers of one host share the folder: whichever came first tells of all.
        logger.warning("no metrics on port %d: %s", settings.METRICS_PORT, error.strerror)
        return None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def _answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    allowed = may_read(
        authorization=environ.get("HTTP_AUTHORIZATION", ""),
        address=environ.get("REMOTE_ADDR", ""),
        forwarded=any(f"HTTP_{name.upper().replace('-', '_')}" in environ for name in FORWARDED),
    )
    if environ.get("PATH_INFO") != "/metrics" or environ.get("REQUEST_METHOD") != "GET":
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"GET /metrics\n"]
    if not allowed:
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"Metrics are for loopback, and for the bearer of METRICS_TOKEN.\n"]
    start_response("200 OK", [("Content-Type", CONTENT_TYPE)])
    return [exposition(_processes)]
