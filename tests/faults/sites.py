"""What a row runs on: servers of its own, `manage.py up`, and a tenant whose webhook leads to a receiver."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from events_platform.up.child import Child
from installation.local.data_dir import CHECKOUT
from tests.faults.parts import processes
from tests.faults.parts.hosts import Host, host_beside, linked_hosts
from tests.faults.parts.postgresql import DATABASE, PASSWORD, ROLE, PostgreSQL
from tests.faults.parts.programs import FarWorker, Platform
from tests.faults.parts.redis import Redis
from tests.support.http.proxies import Proxy, connected_to
from tests.support.http.receiver import Receiver, receiving
from tests.support.rabbitmq import RabbitMQ, running_rabbitmq
from tests.support.servers import free_port
from tests.support.waiting import wait_until

HOOK = "/hook"
# A row that fails shows the end of the log: what went wrong, and not what was asked.
_QUIET = {"LOG_REQUESTS": "errors", "LOG_ATTEMPTS": "errors"}
# Debian's package `faketime`; in a folder that is named after the machine.
_LIBFAKETIME = "*/faketime/libfaketimeMT.so.1"
# The release that an upgrade to this checkout starts from.
_OLDER = "v0.2.0"


_LONGEST_LOG = 6000


@dataclass(kw_only=True)
class Site:
    """`stack` ends what belongs to it. What only some sites have is None elsewhere.

    `door` is where the load goes, when that is not the platform itself.
    """

    folder: Path
    stack: ExitStack
    postgres: PostgreSQL
    redis: Redis
    platform: Platform
    receiver: Receiver
    to_postgres: Proxy | None = None
    to_redis: Proxy | None = None
    standby: PostgreSQL | None = None
    servers_host: Host | None = None
    rabbitmq: RabbitMQ | None = None
    pgbouncer: Child | None = None
    far_worker: FarWorker | None = None
    door: Proxy | None = None

    @property
    def port(self) -> int:
        return self.platform.port if self.door is None else self.door.port

    def log(self, since: int) -> str:
        """What the programs said from this byte of the log on; its end, when it was much."""
        return self.platform.log.read_bytes()[since:].decode(errors="replace")[-_LONGEST_LOG:]


Opening = Callable[[], AbstractContextManager[Site]]


@dataclass(kw_only=True)
class Servers:
    """What the platform of a site is started on; `environ` says so to it."""

    folder: Path
    stack: ExitStack
    postgres: PostgreSQL
    redis: Redis
    environ: dict[str, str]


@contextmanager
def servers(*, small_disk: bool = False) -> Iterator[Servers]:
    """PostgreSQL and Redis, in a folder whose path is short, for sockets lie in it."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="faults-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o711)  # PostgreSQL's own user passes through
        if small_disk:
            for name, size in {"postgres": "400m", "data": "64m", "tmp": "16m"}.items():
                stack.enter_context(small_file_system(folder / name, size))
        postgres = PostgreSQL(folder / "postgres", port=free_port())
        stack.callback(postgres.kill)
        postgres.initialize()
        redis = Redis(folder / "redis", port=free_port())
        stack.callback(redis.kill)
        redis.start()
        environ = {"DATABASE_URL": postgres.url(), "REDIS_URL": redis.url(), **_QUIET}
        yield Servers(folder=folder, stack=stack, postgres=postgres, redis=redis, environ=environ)


def started(on: Servers) -> Site:
    """The platform of this checkout on these servers, with a webhook that takes every event."""
    platform = Platform(on.folder, port=free_port(), environ=on.environ)
    return with_webhook(on, platform)


def with_webhook(on: Servers, platform: Platform) -> Site:
    on.stack.callback(platform.stop)
    platform.start()
    receiver = on.stack.enter_context(receiving())
    hook = {"kind": "webhook", "url": f"{receiver.url}{HOOK}", "event_types": ["*"]}
    receiver.trust(platform.request("POST", "/api/v1/subscriptions", hook)["secret"])
    return Site(
        folder=on.folder, stack=on.stack, postgres=on.postgres, redis=on.redis, platform=platform, receiver=receiver
    )


@contextmanager
def small_file_system(folder: Path, size: str) -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("a small file system needs root")
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "faults", folder], check=False)
    if mounted.returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


# The kinds of sites


@contextmanager
def ordinary() -> Iterator[Site]:
    """PostgreSQL, Redis, and the platform as `make run` starts it."""
    with servers() as on:
        yield started(on)


@contextmanager
def with_small_disks() -> Iterator[Site]:
    """The data of PostgreSQL, the data folder and the temporary folder lie on file systems of their own."""
    with servers(small_disk=True) as on:
        on.environ["TMPDIR"] = str(on.folder / "tmp")
        yield started(on)


@contextmanager
def with_own_clocks() -> Iterator[Site]:
    """Worker, sender and beat each see a clock that can be set."""
    with _with_clocks("worker sender beat") as site:
        yield site


@contextmanager
def with_own_clock_of_web() -> Iterator[Site]:
    """Likewise the web server, and it alone, for each look at such a clock costs some microseconds."""
    with _with_clocks("web") as site:
        yield site


@contextmanager
def _with_clocks(names: str) -> Iterator[Site]:
    found = next(Path("/usr/lib").glob(_LIBFAKETIME), None)
    if found is None:
        pytest.skip("libfaketime is not installed (Debian: apt install faketime)")
    with servers() as on:
        on.environ |= {"CLOCKS": str(found), "CLOCKS_OF": names}
        yield started(on)


@contextmanager
def with_rabbitmq() -> Iterator[Site]:
    with servers() as on:
        node = on.stack.enter_context(running_rabbitmq())
        on.environ["CELERY_BROKER_URL"] = node.url
        site = started(on)
        site.rabbitmq = node
        yield site


@contextmanager
def with_standby() -> Iterator[Site]:
    """PostgreSQL has a synchronous standby; it and Redis are reached through proxies, at addresses that stay."""
    with servers() as on:
        yield _proxied(on, None)


@contextmanager
def with_servers_elsewhere() -> Iterator[Site]:
    """The same with these addresses on another host."""
    with servers() as on:
        yield _proxied(on, host_beside(on.stack))


def _proxied(on: Servers, host: tuple[Host, str] | None) -> Site:
    standby = PostgreSQL(on.folder / "standby", port=free_port())
    on.stack.callback(standby.kill)
    standby.follow(on.postgres)
    address = "127.0.0.1" if host is None else host[1]
    proxies = []
    for path in (on.postgres.socket, on.redis.socket):
        proxy = Proxy(lambda path=path: connected_to(path), host and host[0].listener(address))  # type: ignore[misc]
        on.stack.callback(proxy.close)
        proxies.append(proxy)
    on.environ["DATABASE_URL"] = on.postgres.url(host=address, port=proxies[0].port)
    on.environ["REDIS_URL"] = on.redis.url(host=address, port=proxies[1].port)
    site = started(on)
    site.standby, (site.to_postgres, site.to_redis) = standby, proxies
    site.servers_host = host and host[0]
    return site


@contextmanager
def behind_pgbouncer() -> Iterator[Site]:
    """PgBouncer in transaction mode between the platform and PostgreSQL."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("pgbouncer is not installed (Debian: apt install pgbouncer)")
    with servers() as on:
        port = free_port()
        postgres = on.postgres
        settings = (
            "[databases]\n"
            f"{DATABASE} = host=127.0.0.1 port={postgres.port} user={ROLE} password={PASSWORD}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\npool_mode = transaction\n"
            "max_client_conn = 200\ndefault_pool_size = 20\nserver_login_retry = 1\nunix_socket_dir =\n"
        )
        configuration = on.folder / "pgbouncer.ini"
        configuration.write_text(settings)
        pgbouncer = postgres.companion(program, str(configuration))
        on.stack.callback(pgbouncer.kill_group)
        pgbouncer.start()
        wait_until(lambda: _accepts(port))
        on.environ["DATABASE_URL"] = postgres.url(port=port)
        on.environ["DATABASE_TRANSACTION_POOLING"] = "true"
        site = started(on)
        site.pgbouncer = pgbouncer
        yield site


@contextmanager
def with_worker_elsewhere() -> Iterator[Site]:
    """A second worker on a host of its own, beside the programs of `make run`, whose own worker stands still."""
    with servers() as on:
        near, far, address, _ = linked_hosts(on.stack)
        site = started(on)
        to_postgres = Proxy(lambda: connected_to(on.postgres.socket), near.listener(address))
        to_redis = Proxy(lambda: connected_to(on.redis.socket), near.listener(address))
        for proxy in (to_postgres, to_redis):
            on.stack.callback(proxy.close)
        from_there = {
            "DATABASE_URL": on.postgres.url(host=address, port=to_postgres.port),
            "REDIS_URL": on.redis.url(host=address, port=to_redis.port),
            "CELERY_BROKER_URL": on.redis.url(host=address, port=to_redis.port, database=1),
        }
        site.far_worker = FarWorker(far, site.platform.environment(**from_there))
        on.stack.callback(site.far_worker.stop)
        site.far_worker.start()
        processes.signal_family(site.platform.pid("worker"), signal.SIGSTOP)
        yield site


@contextmanager
def beside_an_older_version() -> Iterator[Site]:
    """The release before this checkout runs alone at first; the load comes through a balancer."""
    with servers() as on:
        older = on.folder / "older"
        older.mkdir()
        archive = subprocess.run(["git", "archive", _OLDER], cwd=CHECKOUT, capture_output=True, check=False)
        if archive.returncode != 0:
            pytest.skip(f"this checkout has no tag {_OLDER}")
        subprocess.run(["tar", "--extract"], cwd=older, input=archive.stdout, check=True)
        site = with_webhook(on, Platform(on.folder, port=free_port(), environ=on.environ, checkout=older))
        to_older = ("127.0.0.1", site.platform.port)
        site.door = Proxy(lambda: socket.create_connection(to_older))
        on.stack.callback(site.door.close)
        yield site
