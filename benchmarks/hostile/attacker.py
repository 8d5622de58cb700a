"""What an attack is, and the process that makes one: at the lowest priority, and no faster than the attack says.

So the ratios show what the platform does with few bad requests, and not what the generator takes from its machine.
"""

import asyncio
import itertools
import json
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier
from typing import Any

import uvloop

from benchmarks.servers import HOST
from events_platform.up.processes import stand_back
from installation.local.errors import UpError

# An attack is prepared within this time, which counts in no measurement.
_BEGIN_SECONDS = 120.0
_LOWEST_PRIORITY = 19
_OPEN_FILES = 8192
_PIECE = 256 * 1024
# Longer answers are read, and forgotten.
_KEPT_BYTES = 1024 * 1024
_both_ready: Barrier | None = None


@dataclass(frozen=True, kw_only=True)
class Site:
    """What can be reached. `session` is of an owner of `organization`, whose key `api_key` is."""

    port: int
    organization: str
    api_key: str
    session: str
    broker: str
    database: str


class Attacker:
    """Sends requests and counts what became of them; `kept` is what the beginning leaves for what follows."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.outcomes: Counter[str] = Counter()
        self.kept: dict[str, Any] = {}

    def request(
        self, method: str, path: str, body: bytes = b"", *, length: int | None = None, key: bool = True, **fields: str
    ) -> bytes:
        """The bytes of a request; `length` is what it says of a body that comes later, `key` whether it has one."""
        lines = {"host": HOST, "connection": "close"}
        if key:
            lines["authorization"] = f"Bearer {self.site.api_key}"
        if method != "GET":
            lines |= {
                "content-type": "application/json",
                "content-length": str(len(body) if length is None else length),
            }
        lines |= {name.replace("_", "-"): value for name, value in fields.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body

    async def send(self, request: bytes) -> int:
        """On a connection of its own; the answer's status, or 0 without an answer. It is counted."""
        status, _ = await self._exchange(request)
        self.outcomes[str(status) if status else "no answer"] += 1
        return status

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """What the API answers, as a value, or None. It is not counted."""
        data = b"" if body is None else json.dumps(body).encode()
        status, answer = await self._exchange(self.request(method, path, data))
        return json.loads(answer) if answer and status < 400 else None

    async def repeat(self, step: Callable[[int], Awaitable[object]], *, rate: float, at_once: int = 32) -> None:
        """Begin a step so many times a second, without end, unless so many of them are under way."""
        room = asyncio.Semaphore(at_once)
        begin = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in itertools.count():
                await asyncio.sleep(begin + number / rate - time.monotonic())
                await room.acquire()
                group.create_task(self._step(step, number, room))

    async def _step(self, step: Callable[[int], Awaitable[object]], number: int, room: asyncio.Semaphore) -> None:
        try:
            await step(number)
        except (OSError, EOFError):
            self.outcomes["no answer"] += 1
        finally:
            room.release()

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        """Status and body, up to a bound, of the answer; a connection that closes without one is status 0."""
        answer = bytearray()
        try:
            async with opened(self.site.port) as (reader, writer):
                writer.write(request)
                with suppress(ConnectionError):
                    await writer.drain()
                while part := await reader.read(_PIECE):
                    answer += part[: max(0, _KEPT_BYTES - len(answer))]
        except OSError:
            pass
        head, _, body = bytes(answer).partition(b"\r\n\r\n")
        return (int(head[9:12]) if head[9:12].isdigit() else 0), body


@asynccontextmanager
async def opened(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the web server, which is cut at the end, whatever is still to be sent."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


Step = Callable[[Attacker], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Attack:
    """`begin` prepares it before the clock runs; `run` goes on until it is cancelled, and may end.

    `bound` is how many times its quiet p99 the other tenant's may become; None where that says something about the
    machine alone. `never` is an outcome that must not occur.
    """

    name: str
    run: Step
    begin: Step | None = None
    plan: str = "free"
    bound: float | None = 2.0
    never: str = ""


@dataclass(kw_only=True)
class Outcomes:
    """How often what became of an attack's requests; complete once the attack has ended."""

    counts: Mapping[str, int] = field(default_factory=dict)


@contextmanager
def attacked(attack: Attack, site: Site, *, seconds: float) -> Iterator[Outcomes]:
    """Begins the attack, and lets it run for `seconds` while the block runs."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    outcomes = Outcomes()
    with ProcessPoolExecutor(1, context, initializer=_prepare, initargs=(barrier,)) as pool:
        made: Future[dict[str, int]] = pool.submit(_work, attack, site, seconds)
        try:
            barrier.wait(_BEGIN_SECONDS)
        except threading.BrokenBarrierError:
            _counts(made)
            raise
        yield outcomes
        outcomes.counts = _counts(made)


def _counts(made: "Future[dict[str, int]]") -> dict[str, int]:
    if (error := made.exception()) is not None:
        raise UpError(f"the attack failed: {error!r}") from error
    return made.result()


def _prepare(barrier: Barrier) -> None:
    global _both_ready  # noqa: PLW0603 - a barrier can only be handed to a process while it starts
    _both_ready = barrier
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # An attacker computes on a machine of its own: what its client costs is not to be taken from the platform.
    os.setsid()
    stand_back(os.getpid(), _LOWEST_PRIORITY)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_OPEN_FILES, most), most))


def _work(attack: Attack, site: Site, seconds: float) -> dict[str, int]:
    return uvloop.run(_attack(attack, site, seconds))


async def _attack(attack: Attack, site: Site, seconds: float) -> dict[str, int]:
    assert _both_ready is not None
    attacker = Attacker(site)
    try:
        if attack.begin is not None:
            await attack.begin(attacker)
    except BaseException:
        _both_ready.abort()
        raise
    attacker.outcomes.clear()
    await asyncio.to_thread(_both_ready.wait)
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await attack.run(attacker)
    return dict(attacker.outcomes)
