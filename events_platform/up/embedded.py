"""The servers that the platform brings along, for those that the environment does not name."""

from collections.abc import Callable, Mapping, Sequence

from events_platform.up.child import Child
from events_platform.up.output import Output
from events_platform.up.postgres import EmbeddedPostgres, database_url
from events_platform.up.valkey import EmbeddedValkey, broker_url, redis_url
from installation.local.data_dir import DataDir
from installation.local.sockets import remove_socket_root, socket_root


def server_urls(data: DataDir, environ: Mapping[str, str]) -> dict[str, str]:
    """`DATABASE_URL`, `REDIS_URL` and `CELERY_BROKER_URL`: from `environ`, or those of the embedded servers."""
    redis = environ.get("REDIS_URL") or redis_url(data)
    return {
        "DATABASE_URL": environ.get("DATABASE_URL") or database_url(data),
        "REDIS_URL": redis,
        "CELERY_BROKER_URL": environ.get("CELERY_BROKER_URL") or broker_url(redis),
    }


class EmbeddedServers:
    """Those of PostgreSQL and Valkey that `environ` does not name. The caller holds the lock of the data folder."""

    def __init__(
        self,
        data: DataDir,
        output: Output,
        environ: Mapping[str, str],
        *,
        postgres_options: Sequence[str] = (),
        databases: int = 16,
    ) -> None:
        self._data = data
        self._output = output
        self._environ = {**environ, "EVENTS_DATA_DIR": str(data.root)}
        self._postgres = (
            None if environ.get("DATABASE_URL") else EmbeddedPostgres(data, output, options=postgres_options)
        )
        self._valkey = None if environ.get("REDIS_URL") else EmbeddedValkey(data, output, databases=databases)

    def start(self, check: Callable[[], None] = lambda: None) -> None:
        """Start them; returns when they answer. `check` is called while waiting, and may raise to give up."""
        if self._postgres is not None:
            with self._output.timed("PostgreSQL ready"):
                self._postgres.start(check)
        if self._valkey is not None:
            with self._output.timed("Valkey ready"):
                self._valkey.start(check, self._environ)

    def end_leftovers(self) -> None:
        """Stop the servers that a killed process left on the data folder; `start` does so by itself."""
        for server in (self._postgres, self._valkey):
            if server is not None:
                server.end_leftover()

    @property
    def children(self) -> list[Child]:
        """The servers that run, in the order of their start."""
        servers = (self._postgres, self._valkey)
        return [server.child for server in servers if server is not None and server.child is not None]

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """Stop them, the last first; no process of theirs is left."""
        for child in reversed(self.children):
            child.ask_to_stop()
            if not child.wait_stopped(hurry):
                self._output.say(f"{child.program.name} did not stop in time and was killed")
        remove_socket_root(socket_root(self._data.root))
