"""Faults that take more than one step, or more than one part of a site."""

import itertools
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from installation.local.data_dir import CHECKOUT
from tests.faults.parts import processes
from tests.faults.parts.postgresql import DATABASE
from tests.faults.parts.programs import Platform
from tests.faults.sites import HOOK, Site
from tests.support.http.proxies import connected_to
from tests.support.servers import free_port
from tests.support.waiting import wait_until

_PARTITIONED = ("ingestion_event", "delivery_delivery", "delivery_attempt")
_LAST_PARTITION = """
SELECT max(inhrelid::regclass::text) FROM pg_inherits
WHERE inhparent = %s::regclass AND inhrelid::regclass::text NOT LIKE '%%default'
"""
_DUMP_HOLDS = """
SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE application_name = 'pg_dump' AND relation = %s::regclass
"""
# Of the platform's sessions; the harness is another user.
_WAITS_IN_A_TRANSACTION = """
SELECT FROM pg_stat_activity
WHERE usename = 'events' AND wait_event_type = 'Lock' AND query ILIKE '%ingestion_eventtype%'
"""


@contextmanager
def redis_slow(site: Site) -> Iterator[None]:
    """Each answer comes 200 ms late."""
    assert site.to_redis is not None
    site.to_redis.delay = 0.2
    try:
        yield
    finally:
        site.to_redis.delay = 0.0


@contextmanager
def failover(site: Site) -> Iterator[None]:
    """The primary dies, and its connections with it; the standby is promoted, and has the address from then on."""
    primary = site.postgres
    primary.kill()
    yield
    _promote(site)


@contextmanager
def failover_in_silence(site: Site) -> Iterator[None]:
    """The primary's host vanishes: its connections never hear of it, not even when somebody else has its address."""
    assert site.servers_host is not None
    assert site.to_postgres is not None
    site.servers_host.forget_peers(site.to_postgres.clients())
    site.postgres.kill()
    yield
    _promote(site)


def _promote(site: Site) -> None:
    standby, proxy = site.standby, site.to_postgres
    assert standby is not None
    assert proxy is not None
    standby.promote()
    standby.configure("synchronous_standby_names", "")
    proxy.connect = lambda: connected_to(standby.socket)
    site.postgres = standby


@contextmanager
def servers_cut_off(site: Site) -> Iterator[None]:
    """The link to PostgreSQL and Redis is dead."""
    assert site.servers_host is not None
    with site.servers_host.cut_off():
        yield


@contextmanager
def host_dies_in_a_transaction(site: Site) -> Iterator[None]:
    """The host of a worker loses its network while its worker holds rows that the others need, and never comes back.

    The other worker, which stood still until now, begins to work.
    """
    far = site.far_worker
    assert far is not None
    with site.postgres.session() as session, session.transaction():
        session.execute("LOCK TABLE ingestion_eventtype IN SHARE ROW EXCLUSIVE MODE")
        wait_until(lambda: bool(site.postgres.execute(_WAITS_IN_A_TRANSACTION)))
        far.cut_and_kill()
    processes.signal_family(site.platform.pid("worker"), signal.SIGCONT)
    yield


@contextmanager
def dump_with_a_new_partition(site: Site) -> Iterator[None]:
    """`pg_dump` runs, slowly; meanwhile it is time to make the next partition of each table."""
    postgres = site.postgres
    for table in _PARTITIONED:
        [[last]] = postgres.execute(_LAST_PARTITION, table)
        postgres.execute(f"DROP TABLE {last}")
    by_socket = f"host={postgres.folder} port={postgres.port} user=postgres dbname={DATABASE}"
    # It waits when nobody reads its output, and keeps its locks.
    with postgres.begin("pg_dump", "--dbname", by_socket) as dump:
        wait_until(lambda: bool(postgres.execute(_DUMP_HOLDS, _PARTITIONED[0])))
        subprocess.run(
            [sys.executable, "-m", "celery", "-A", "events_platform", "call", "ingestion.make_partitions"],
            cwd=CHECKOUT, env=site.platform.environment(), stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        yield
        dump.communicate()
        assert dump.returncode == 0


@contextmanager
def endpoint_away(site: Site) -> Iterator[None]:
    site.receiver.behave(HOOK, "status/503")
    try:
        yield
    finally:
        site.receiver.behave(HOOK, "ok")


@contextmanager
def rabbitmq_killed(site: Site) -> Iterator[None]:
    assert site.rabbitmq is not None
    site.rabbitmq.kill()
    try:
        yield
    finally:
        site.rabbitmq.start()


@contextmanager
def rabbitmq_hanging(site: Site) -> Iterator[None]:
    assert site.rabbitmq is not None
    with processes.hanging(site.rabbitmq.pid):
        yield


@contextmanager
def rabbitmq_out_of_memory(site: Site) -> Iterator[None]:
    """Its memory alarm: it takes no message from anybody."""
    assert site.rabbitmq is not None
    site.rabbitmq.control("set_vm_memory_high_watermark", "0.00001")
    try:
        yield
    finally:
        site.rabbitmq.control("set_vm_memory_high_watermark", "0.6")


@contextmanager
def pgbouncer_restarted(site: Site) -> Iterator[None]:
    assert site.pgbouncer is not None
    site.pgbouncer.kill_group()
    try:
        yield
    finally:
        site.pgbouncer.start()


@contextmanager
def newer_version_beside(site: Site) -> Iterator[None]:
    """This checkout is started beside the older release, migrates, and shares the load; then the older one stops."""
    older, door = site.platform, site.door
    assert door is not None
    folder = site.folder / "newer"
    newer = Platform(folder, port=free_port(), environ=older.given)
    newer.data.mkdir(parents=True)
    for name in ("demo.json", "secret_key"):  # the key and the secrets of an installation are those of all its hosts
        shutil.copy(older.data / name, newer.data / name)
    site.stack.callback(newer.stop)
    newer.start()
    turns = itertools.cycle([older.port, newer.port])
    door.connect = lambda: socket.create_connection(("127.0.0.1", next(turns)))
    yield
    door.connect = lambda: socket.create_connection(("127.0.0.1", newer.port))
    older.stop_in_peace()
    site.platform = newer


@contextmanager
def disk_of_metrics_full(site: Site) -> Iterator[None]:
    with processes.full(site.platform.data):
        yield


@contextmanager
def temporary_folder_full(site: Site) -> Iterator[None]:
    with processes.full(site.folder / "tmp"):
        yield


@contextmanager
def clock_off(site: Site, name: str, by: str) -> Iterator[None]:
    """`by` is "+2h" or "-2h": the clock of the machine that the program runs on is set, and set right again."""
    clock = site.platform.data / f"clock-of-{name}"
    clock.write_text(f"{by}\n")
    try:
        yield
    finally:
        clock.write_text("+0\n")
