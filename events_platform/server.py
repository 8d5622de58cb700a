"""gunicorn's logs in our form; its ASGI worker, which looks after its connections and waits for no idle one at its end.

gunicorn 27 waits for every connection to close, up to its graceful timeout, also for those on which nothing is asked.
"""

import asyncio
import os
import resource
import sys
from heapq import nsmallest
from logging.config import dictConfig

from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.workers import gasgi

from core import bounds
from observability.logs import configuration_of
from rest.doors.connections import Clock, Protocol
from rest.doors.streams import end_streams
from rest.doors.waiting import number_held

# A busy client sends its next request within this time, and is told to close the connection with the answer.
IDLE_SECONDS = 1.0
_ACCEPTED_SECONDS = 0.1
# How long a thread that computes keeps the interpreter from the event loop, which asks for it after each of the dozen
# system calls that an event takes: with Python's 5 ms, one list of somebody cost an event some 50 ms.
_SWITCH_SECONDS = 0.0005


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


class Worker(gasgi.ASGIWorker):  # type: ignore[misc] # likewise
    # From here on each answer says that its connection closes.
    ending = False

    def init_process(self) -> None:
        sys.setswitchinterval(_SWITCH_SECONDS)
        self._spare_descriptors = _ask_for_descriptors() - bounds.USUAL_DESCRIPTORS
        self.protocols: set[Protocol] = set()
        self._clock = Clock()
        gasgi.ASGIProtocol = Protocol
        super().init_process()

    @property
    def clock(self) -> float:
        return self._clock.now

    def add(self, new: Protocol) -> None:
        """A connection was accepted. When there are too many, those that have kept us waiting longest make room.

        Some at once: it takes a look at all of them.
        """
        self.protocols.add(new)
        most = self.cfg.worker_connections
        if len(self.protocols) <= most + min(number_held(), self._spare_descriptors):
            return
        waiting = [one for one in self.protocols if one is not new and one.waits_for_client]
        for one in nsmallest(most // 20 + 1, waiting or [new], key=lambda one: one.waits_since):
            one.make_room()

    def handle_exit_signal(self) -> None:
        """Serves for a moment more: as soon as it is not `alive`, gunicorn closes each connection behind its answer.

        Also where the answer that was just sent had promised to keep it: a proxy's next request would be lost.
        """
        self._begin_end()
        self.loop.call_later(IDLE_SECONDS, super().handle_exit_signal)

    async def _serve(self) -> None:
        self._looking = self.loop.create_task(self._look_after_connections())
        await super()._serve()

    async def _look_after_connections(self) -> None:
        while True:
            await asyncio.sleep(bounds.LOOK_SECONDS)
            now = self._clock.advance()
            for protocol in list(self.protocols):
                try:
                    protocol.look(now)
                except Exception:
                    self.log.exception("A connection could not be looked after")
                    protocol.transport.abort()

    async def _shutdown(self) -> None:
        for server in self.servers:
            server.close()
        end_streams()
        self._begin_end()
        # A connection that was accepted in this turn of the loop is counted in one of the next. gunicorn does not look
        # again once it has counted none.
        await asyncio.sleep(_ACCEPTED_SECONDS)
        await super()._shutdown()

    def _begin_end(self) -> None:
        if not self.ending:
            self.ending = True
            self._closing = self.loop.create_task(self._close_idle_connections())

    async def _close_idle_connections(self) -> None:
        while True:
            for protocol in list(self.protocols):
                protocol.close_if_still_idle()
            await asyncio.sleep(IDLE_SECONDS)
