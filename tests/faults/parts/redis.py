"""A Redis (Valkey) of a row's own on TCP, whose data outlives it, and the ways in which it fails."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from events_platform.up.child import Child, Program
from events_platform.up.output import Output
from events_platform.up.valkey import binary
from tests.faults.parts import processes
from tests.support.waiting import wait_until


class Redis:
    """One server. The harness comes by its Unix socket, on a connection that is kept from the first moment on."""

    def __init__(self, folder: Path, *, port: int) -> None:
        self._folder, self.port = folder, port
        self._child: Child | None = None
        self._kept: redis.Redis | None = None

    def url(self, *, host: str = "127.0.0.1", port: int = 0, database: int = 0) -> str:
        return f"redis://{host}:{port or self.port}/{database}"

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "unixsocket": str(self.socket),
            "save": "",
            # As the distributions' and the clouds' do, it remembers what it was told: wake-ups of before come again.
            "appendonly": "yes",
            "dir": str(self._folder),
            "daemonize": "no",
            "protected-mode": "no",
        }
        program = Program(
            name="redis",
            command=(str(binary()), *(part for name, value in settings.items() for part in (f"--{name}", value))),
            environment={"PATH": os.environ["PATH"]},
            folder=self._folder,
            log=self._folder.parent / "redis.log",
        )
        self._child = Child(program, Output(os.open(os.devnull, os.O_WRONLY)))
        self._child.start()
        wait_until(self._answers)

    @property
    def socket(self) -> Path:
        return self._folder / "redis.sock"

    @property
    def pid(self) -> int:
        assert self._child is not None
        assert self._child.identity is not None
        return self._child.identity.pid

    def _answers(self) -> bool:
        with suppress(redis.RedisError, OSError):
            # Kept: when there is no connection left to be had, this one is.
            self._kept = redis.Redis(
                unix_socket_path=str(self.socket),
                socket_timeout=10,
                retry=Retry(NoBackoff(), 0),
                single_connection_client=True,
            )
            return bool(self._kept.ping())
        return False

    def command(self, *words: Any) -> Any:
        assert self._kept is not None
        return self._kept.execute_command(*words)

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill_group()

    # Failing

    @contextmanager
    def killed(self) -> Iterator[None]:
        self.kill()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        with processes.hanging(self.pid):
            yield

    @contextmanager
    def emptied(self) -> Iterator[None]:
        self.command("FLUSHALL")
        yield

    @contextmanager
    def replaced_by_an_empty_one(self) -> Iterator[None]:
        self.kill()
        shutil.rmtree(self._folder)
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def full(self) -> Iterator[None]:
        """At `maxmemory`, without anything that it may throw away: it takes no write."""
        with self._set("maxmemory", "1"):
            yield

    @contextmanager
    def without_free_connections(self) -> Iterator[None]:
        """Others have taken them all."""
        with self._set("maxclients", "1"):
            self._end_connections()
            yield

    @contextmanager
    def demanding_a_password(self) -> Iterator[None]:
        with self._set("requirepass", "another"):
            self._end_connections()
            yield

    @contextmanager
    def _set(self, name: str, value: str) -> Iterator[None]:
        before = self.command("CONFIG", "GET", name)
        self.command("CONFIG", "SET", name, value)
        try:
            yield
        finally:
            self.command(
                "CONFIG", "SET", name, before.get(name.encode(), b"") if isinstance(before, dict) else before[1]
            )

    def _end_connections(self) -> None:
        """All but this one."""
        self.command("CLIENT", "KILL", "SKIPME", "yes")
