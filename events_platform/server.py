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


class Logger(GunicornLogger):  # type: ignore[misc] # gunicorn has no types
    """The master's lines; the workers get the same from the settings. Each request has a line of ours already."""

    def setup(self, cfg: object) -> None:
        super().setup(cfg)
        dictConfig(configuration_of(os.environ))


class Protocol(ASGIProtocol):  # type: ignore[misc] # gunicorn has no types
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.worker.protocols.add(self)

    def close_if_idle(self) -> None:
        """As the keep-alive timer does it, only sooner."""
        if self._awaiting_request:
            self._keepalive_timeout()


class Worker(gasgi.ASGIWorker):  # type: ignore[misc] # likewise
    def init_process(self) -> None:
        self.protocols: WeakSet[Protocol] = WeakSet()
        gasgi.ASGIProtocol = Protocol
        super().init_process()

    async def _shutdown(self) -> None:
        end_streams()
        closing = self.loop.create_task(self._close_idle_connections())
        await super()._shutdown()
        closing.cancel()

    async def _close_idle_connections(self) -> None:
        while True:
            await asyncio.sleep(IDLE_SECONDS)
            for protocol in list(self.protocols):
                protocol.close_if_idle()
