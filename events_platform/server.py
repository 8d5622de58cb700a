"""gunicorn's logs in our form; its ASGI worker, which at its end waits for no idle connection and no open stream.

gunicorn 27 waits for every connection to close, up to its graceful timeout, also for those on which nothing is asked.
"""

import asyncio
import os
from logging.config import dictConfig
from weakref import WeakSet

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.workers import gasgi

from console.streams import end_streams
from events_platform.logs import configuration_of

# A busy client sends its next request within this time, and is told to close the connection with the answer.
IDLE_SECONDS = 1.0
_ACCEPTED_SECONDS = 0.1


class Logger(GunicornLogger):  # type: ignore[misc] # gunicorn has no types
    """The master's lines; the workers get the same from the settings. Each request has a line of ours already."""

    def setup(self, cfg: object) -> None:
        super().setup(cfg)
        dictConfig(configuration_of(os.environ))


class Protocol(ASGIProtocol):  # type: ignore[misc] # gunicorn has no types
    _requests_at_last_look = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.worker.protocols.add(self)

    def close_if_still_idle(self) -> None:
        """As the keep-alive timer does it, only sooner: when nothing was asked since the look before."""
        if self._awaiting_request and self.req_count == self._requests_at_last_look:
            self._keepalive_timeout()
        self._requests_at_last_look = self.req_count

    def _will_close(self, request: object, response_requires_close: bool) -> bool:  # noqa: FBT001 - gunicorn's
        return bool(self.worker.ending or super()._will_close(request, response_requires_close))


class Worker(gasgi.ASGIWorker):  # type: ignore[misc] # likewise
    # From here on each answer says that its connection closes.
    ending = False

    def init_process(self) -> None:
        self.protocols: WeakSet[Protocol] = WeakSet()
        gasgi.ASGIProtocol = Protocol
        super().init_process()

    def handle_exit_signal(self) -> None:
        """Serves for a moment more: as soon as it is not `alive`, gunicorn closes each connection behind its answer.

        Also where the answer that was just sent had promised to keep it: a proxy's next request would be lost.
        """
        self._begin_end()
        self.loop.call_later(IDLE_SECONDS, super().handle_exit_signal)

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
