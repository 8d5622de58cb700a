"""What each long-running process says of itself every few seconds, in Redis: role, host, version, clock.

A sign means that the process lives, not that its work gets done: how old the oldest work is, PostgreSQL knows. Of beat,
whose work leaves no row, the time is kept too when it last handed a task to the broker.
"""

import atexit
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
from celery.signals import after_task_publish
from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from core.version import VERSION, revision

logger = logging.getLogger(__name__)
KEY = "signs-of-life"
PAUSE_SECONDS = 5.0
# When beat last handed out a task, by Redis' clock.
BEAT_KEY = "beat:heartbeat"
# It does so each second. Later than this nobody says that beat runs.
LATE_SECONDS = 30.0
# Three signs that did not come, and a moment.
FRESH_SECONDS = 20.0
# Of what was killed. Every process that starts removes them, and whoever reads: the hash does not grow.
_KEPT_SECONDS = 120.0
_ANSWER_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Sign:
    """`clock` is the process's own, `written_at` Redis' at the same moment, both Unix time.

    `connections`: to PostgreSQL, at most. `space`: within it `pid` means one process; empty where that is not known.
    """

    role: str
    host: str
    pid: int
    space: str
    version: str
    revision: str
    connections: int
    clock: float
    written_at: float

    @property
    def name(self) -> str:
        return f"{self.role}@{self.host}:{self.pid}"


class _Writer:
    """A thread with a connection of its own: a Redis that hangs holds up nothing, and a fork takes no lock along."""

    def __init__(self, role: str, connections: int) -> None:
        self.pid = os.getpid()
        self._role, self._connections = role, connections
        self._redis = redis_client()
        self._field = f"{role}:{socket.gethostname()}:{self.pid}:{_space()}"
        self._ended = threading.Event()
        self._lost = False
        # Of the last task that it handed out, on the monotonic clock.
        self._published_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="sign-of-life", daemon=True)

    def start(self) -> None:
        if self._role == "beat":
            after_task_publish.connect(self._note_publish, weak=False)
        self._thread.start()

    def _note_publish(self, **_: Any) -> None:
        self._published_at = time.monotonic()

    def stop(self) -> None:
        """At the end, so that nobody takes the next process for a second one. A fork leaves its parent's alone."""
        if self.pid == os.getpid() and not self._ended.is_set():
            self._ended.set()
            self._thread.join(3 * _ANSWER_SECONDS)
            self._try(lambda: self._redis.hdel(KEY, self._field))

    def _run(self) -> None:
        self._try(lambda: _read_all(self._redis))  # which removes those of the dead
        while not self._ended.is_set():
            self._try(self._write)
            self._ended.wait(PAUSE_SECONDS)

    def _write(self) -> None:
        seconds, microseconds = self._redis.time()
        sign = Sign(
            role=self._role,
            host=socket.gethostname(),
            pid=self.pid,
            space=_space(),
            version=VERSION,
            revision=revision(),
            connections=self._connections,
            clock=time.time(),
            written_at=seconds + microseconds / 1e6,
        )
        self._redis.hset(KEY, self._field, msgspec.json.encode(asdict(sign)))
        if self._published_at is not None:
            self._redis.set(BEAT_KEY, int(seconds - (time.monotonic() - self._published_at)))

    def _try(self, what: Callable[[], object]) -> None:
        """A Redis that is away is told of once."""
        try:
            what()
            self._lost = False
        except (RedisError, OSError) as error:
            if not self._lost:
                logger.warning("the sign of life was not written: %s", type(error).__name__)
            self._lost = True


_writers: dict[str, _Writer] = {}


def start_sign(role: str, *, connections: int = 0) -> None:
    """Say every few seconds that this process lives, until it ends. In the process itself, after any fork."""
    written = _writers.get(role)
    if written is None or written.pid != os.getpid():
        _writers[role] = writer = _Writer(role, connections)
        writer.start()
        atexit.register(writer.stop)


def read_signs() -> list[Sign]:
    """Of the processes that live, by role and host. Raises RedisError."""
    with closing(redis_client()) as redis:
        signs = _read_all(redis)
        seconds, _ = redis.time()
    living = [sign for sign in signs if seconds - sign.written_at < FRESH_SECONDS and not _has_ended(sign)]
    return sorted(living, key=lambda sign: (sign.role, sign.host, sign.pid))


def last_beat() -> int | None:
    """When beat last handed out a task, Unix time by Redis' clock; None when Redis knows of none. Raises RedisError."""
    with closing(redis_client()) as redis:
        value = redis.get(BEAT_KEY)
    return None if value is None else int(value)


def beat_age() -> float | None:
    """How long ago that was, whatever the clock of this host says. Likewise."""
    with closing(redis_client()) as redis:
        value = redis.get(BEAT_KEY)
        seconds, microseconds = redis.time()
    return None if value is None else max(seconds + microseconds / 1e6 - int(value), 0.0)


def _read_all(redis: "Redis") -> list[Sign]:
    seconds, _ = redis.time()
    signs, dead = [], []
    for field, text in redis.hgetall(KEY).items():
        try:
            sign = msgspec.json.decode(text, type=Sign)
        except msgspec.MsgspecError:
            dead.append(field)  # of a version that wrote something else
            continue
        if seconds - sign.written_at > _KEPT_SECONDS:
            dead.append(field)
        else:
            signs.append(sign)
    if dead:
        redis.hdel(KEY, *dead)
    return signs


def _has_ended(sign: Sign) -> bool:
    """Whether it was killed a moment ago, as far as this host can tell."""
    if not sign.space or (sign.host, sign.space) != (socket.gethostname(), _space()):
        return False
    try:
        os.kill(sign.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _space() -> str:
    """Containers of one host may share its name, but not its pids."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def redis_client(url: str = "", *, decode_responses: bool = False) -> "Redis":
    """For a few questions, to REDIS_URL unless another is named: as impatient as nobody's request may be held up."""
    return Redis.from_url(
        url or settings.REDIS_URL,
        socket_connect_timeout=_ANSWER_SECONDS,
        socket_timeout=_ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
        decode_responses=decode_responses,
        # To tell Redis its version, each connection would read and parse the package's metadata: 2 ms.
        driver_info=None,
    )
