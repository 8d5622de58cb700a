"""gunicorn's logs in our form, and its workers: uvicorn's server with connections of our own (docs/adr/0036)."""

import asyncio
import logging
import os
import resource
import signal
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from heapq import nsmallest
from logging.config import dictConfig
from typing import Any, ClassVar

import uvicorn
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger as GunicornLogger
from uvicorn_worker import UvicornWorker

from core import bounds
from observability.logs import configuration_of
from rest.doors.connections import Connection, Connections
from rest.doors.streams import end_streams
from rest.doors.waiting import number_held

# A busy client sends its next request within this time, and is told to close the connection with the answer.
IDLE_SECONDS = 1.0
# How often a worker tells its master that it lives.
_NOTIFY_SECONDS = 1
# How long a thread that computes keeps the interpreter from the event loop, which asks for it after each of the dozen
# system calls that an event takes: with Python's 5 ms, one list of somebody cost an event some 50 ms.
SWITCH_SECONDS = 0.0005


def _ask_for_descriptors() -> int:
    """How many files and connections this process may have open: as many as it wants, where it may raise that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = bounds.WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, bounds.WANTED_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return bounds.WANTED_DESCRIPTORS if soft == resource.RLIM_INFINITY else max(soft, most)


class Logger(GunicornLogger):  # type: ignore[misc] # gunicorn has no types
    """The master's lines; the workers get the same from the settings. Each request has a line of ours already."""

    def setup(self, cfg: object) -> None:
        super().setup(cfg)
        dictConfig(configuration_of(os.environ))


class Server(uvicorn.Server):
    """uvicorn's, which ends by the process's own way: a signal asks it to, and does not end Python on the spot."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        looking = loop.create_task(self._look_after_connections())
        try:
            yield
        finally:
            looking.cancel()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        logging.getLogger("gunicorn.error").info("Serving requests")

    async def _look_after_connections(self) -> None:
        while True:
            await asyncio.sleep(bounds.LOOK_SECONDS)
            self._connections.look()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Each answer closes its connection from now on; where nothing is asked, they are closed a moment later.

        Also where the answer that was just sent had promised to keep it: a proxy's next request would be lost.
        """
        self._connections.are_ending = True
        end_streams()
        closing = asyncio.get_running_loop().create_task(self._close_idle_connections())
        await super().shutdown(sockets)
        closing.cancel()

    async def _close_idle_connections(self) -> None:
        while True:
            for connection in list(self._connections.all):
                connection.close_if_still_idle()
            await asyncio.sleep(IDLE_SECONDS)


class Worker(UvicornWorker):  # type: ignore[misc] # without types
    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "lifespan": "on",
        "ws": "none",
        "access_log": False,
        "date_header": False,
        "server_header": False,
        "proxy_headers": False,
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connections = Connections(self._make_room)
        self.connections.keep_seconds = self.cfg.keepalive
        self.config.http = partial(Connection, self.connections)
        self.config.timeout_graceful_shutdown = self.cfg.graceful_timeout
        self.config.timeout_notify = _NOTIFY_SECONDS
        # It tells of each start and end, as gunicorn does.
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)

    def init_process(self) -> None:
        sys.setswitchinterval(SWITCH_SECONDS)
        self._spare_descriptors = _ask_for_descriptors() - bounds.USUAL_DESCRIPTORS
        super().init_process()

    def run(self) -> None:
        self.config.app = self.wsgi
        server = Server(self.config, self.connections)
        server.run(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def _make_room(self, new: Connection) -> None:
        """When there are too many connections, some of those end for which nothing is done.

        Of whoever has most of them, those that have waited longest. Some at once: it takes a look at all.
        """
        every, most = self.connections.all, self.cfg.worker_connections
        if len(every) <= most + min(number_held(), self._spare_descriptors):
            return
        keepers = {one: owner for one in every if one is not new and (owner := one.kept_by) is not None}
        numbers = Counter(keepers.values())
        ended = nsmallest(most // 20 + 1, keepers, key=lambda one: (-numbers[keepers[one]], one.waits_since))
        for one in ended or [new]:
            one.make_room()
