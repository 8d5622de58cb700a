"""The table: every fault by an operator's name for it, how long it lasts, and what it runs on.

Rows on the same site stand together, for it is started once for all of them. Those of one program of ours stand apart:
its supervisor waits the longer the sooner it has ended again.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.faults import failures, sites
from tests.faults.sites import Opening, Site

_POSTGRESQL, _REDIS = frozenset({"postgresql", "intake"}), frozenset({"redis", "broker"})


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One row. `name` is for `make faults ONLY=…`, `title` for the table.

    `in_ci`: one of the few that run with every change. `drains` is in how many seconds after the fault everything is
    delivered. `names` are parts of which /health/status must name one while the fault lasts. `web_is_away`: the web
    server is what fails, so that it cannot say how it is. `unnoticed`: not a single request is refused or late.
    `spoils_site`: what it ran on is not as it was before.
    """

    name: str
    title: str
    seconds: float
    fault: Callable[[Site], AbstractContextManager[None]]
    opening: Opening = sites.ordinary
    drains: float = 30
    in_ci: bool = False
    names: frozenset[str] = frozenset()
    web_is_away: bool = False
    unnoticed: bool = False
    spoils_site: bool = False


def _postgresql() -> list[Scenario]:
    return [
        Scenario(
            name="postgresql-killed", title="PostgreSQL is killed, and started again after 5 s",
            seconds=5, fault=lambda on: on.postgres.killed(), in_ci=True, names=_POSTGRESQL,
        ),
        *(
            Scenario(
                name=f"postgresql-hangs-{seconds}s", title=f"PostgreSQL hangs for {seconds} s",
                seconds=seconds, fault=lambda on: on.postgres.hanging(), names=_POSTGRESQL,
            )
            for seconds in (5, 25, 60)
        ),
        Scenario(
            name="postgresql-restarted", title="PostgreSQL is restarted, which takes 3 s",
            seconds=3, fault=lambda on: on.postgres.restarting(),
        ),
        Scenario(
            name="postgresql-read-only", title="PostgreSQL takes no writes for 10 s",
            seconds=10, fault=lambda on: on.postgres.read_only(), in_ci=True, names=_POSTGRESQL,
        ),
        Scenario(
            name="postgresql-locked", title="Somebody locks the tables of events for 15 s",
            seconds=15, fault=lambda on: on.postgres.locked(), names=_POSTGRESQL,
        ),
        Scenario(
            name="postgresql-no-connections", title="PostgreSQL has no free connection for 10 s",
            seconds=10, fault=lambda on: on.postgres.without_free_connections(), names=_POSTGRESQL,
        ),
        Scenario(
            name="postgresql-password", title="PostgreSQL demands another password for 10 s",
            seconds=10, fault=lambda on: on.postgres.with_another_password(), names=_POSTGRESQL,
        ),
    ]  # fmt: skip


def _redis() -> list[Scenario]:
    return [
        *(
            Scenario(
                name=f"redis-hangs-{seconds}s", title=f"Redis hangs for {seconds} s",
                seconds=seconds, fault=lambda on: on.redis.hanging(), in_ci=seconds == 25, names=_REDIS,
            )
            for seconds in (25, 60)
        ),
        Scenario(
            name="redis-password", title="Redis demands a password for 10 s",
            seconds=10, fault=lambda on: on.redis.demanding_a_password(), names=_REDIS,
        ),
        Scenario(
            name="redis-maxclients", title="Redis lets nobody in (maxclients) for 12 s",
            seconds=12, fault=lambda on: on.redis.without_free_connections(), names=_REDIS,
        ),
        Scenario(
            name="redis-killed", title="Redis is killed, and started again after 5 s",
            seconds=5, fault=lambda on: on.redis.killed(), names=_REDIS,
        ),
        Scenario(
            name="redis-emptied", title="Redis is emptied (FLUSHALL)",
            seconds=1, fault=lambda on: on.redis.emptied(), in_ci=True,
        ),
        Scenario(
            name="redis-full", title="Redis is full (maxmemory) for 12 s",
            seconds=12, fault=lambda on: on.redis.full(), names=_REDIS,
        ),
        Scenario(
            name="redis-replaced", title="Redis is replaced by an empty one after 5 s",
            seconds=5, fault=lambda on: on.redis.replaced_by_an_empty_one(), names=_REDIS,
        ),
    ]  # fmt: skip


def _programs() -> list[Scenario]:
    names = {"web": "The web server", "worker": "The worker", "sender": "The sender", "beat": "Beat"}
    return [
        *(
            Scenario(
                name=f"{name}-killed", title=f"{title} is killed", seconds=1,
                fault=lambda on, name=name: on.platform.killed(name),  # type: ignore[misc]
                web_is_away=name == "web", in_ci=name == "worker",
            )
            for name, title in names.items()
        ),
        *(
            Scenario(
                name=f"{name}-hangs-25s", title=f"{title} hangs for 25 s", seconds=25,
                fault=lambda on, name=name: on.platform.hanging(name),  # type: ignore[misc]
                web_is_away=name == "web",
            )
            for name, title in names.items()
        ),
    ]  # fmt: skip


def _clocks() -> list[Scenario]:
    names = {"worker": "the worker", "sender": "the sender", "beat": "beat", "web": "the web server"}
    pairs = {"ahead": "+2h", "behind": "-2h"}
    rows = [
        Scenario(
            name=f"{name}-clock-{word}", title=f"The clock of {title} is two hours {word} for 12 s", seconds=12,
            fault=lambda on, name=name, by=by: failures.clock_off(on, name, by),  # type: ignore[misc]
            opening=sites.with_own_clock_of_web if name == "web" else sites.with_own_clocks,
        )
        for word, by in pairs.items()
        for name, title in names.items()
    ]  # fmt: skip
    return sorted(rows, key=lambda row: row.opening is sites.with_own_clock_of_web)


def _others() -> list[Scenario]:
    return [
        Scenario(
            name="endpoint-away", title="An endpoint is away for 3 s, while 300 events are due", seconds=3,
            fault=failures.endpoint_away, drains=20,
        ),
        Scenario(
            name="dump-and-partition", title="pg_dump runs for 15 s, and a partition is made meanwhile", seconds=15,
            fault=failures.dump_with_a_new_partition, unnoticed=True,
        ),
    ]  # fmt: skip


def _elsewhere() -> list[Scenario]:
    return [
        *(
            Scenario(
                name=name, title=title, seconds=seconds, fault=fault, opening=sites.with_rabbitmq,
                names=frozenset({"broker"}),
            )
            for name, title, seconds, fault in (
                ("rabbitmq-killed", "RabbitMQ is killed, and started again after 5 s", 5, failures.rabbitmq_killed),
                ("rabbitmq-hangs-25s", "RabbitMQ hangs for 25 s", 25, failures.rabbitmq_hanging),
                ("rabbitmq-memory", "RabbitMQ is out of memory for 15 s", 15, failures.rabbitmq_out_of_memory),
            )
        ),
        *(
            Scenario(name=name, title=title, seconds=10, fault=fault, opening=sites.with_small_disks)
            for name, title, fault in (
                ("temporary-disk-full", "The temporary folder is full for 10 s", failures.temporary_folder_full),
                ("metrics-disk-full", "The folder of the metrics is full for 10 s", failures.disk_of_metrics_full),
                ("postgresql-disk-full", "PostgreSQL's disk is full for 10 s", lambda on: on.postgres.on_a_full_disk()),
            )
        ),
        Scenario(
            name="redis-slow", title="Redis answers 200 ms late for 15 s", seconds=15, fault=failures.redis_slow,
            opening=sites.with_standby,
        ),
        Scenario(
            name="failover", title="PostgreSQL dies, and its standby is promoted after 5 s", seconds=5,
            fault=failures.failover, opening=sites.with_standby, spoils_site=True,
        ),
        Scenario(
            name="servers-cut-off", title="The host of PostgreSQL and Redis is cut off for 20 s", seconds=20,
            fault=failures.servers_cut_off, opening=sites.with_servers_elsewhere,
        ),
        Scenario(
            name="failover-in-silence", title="PostgreSQL's host vanishes, and its standby takes its address after 5 s",
            seconds=5, fault=failures.failover_in_silence, opening=sites.with_servers_elsewhere, spoils_site=True,
        ),
        Scenario(
            name="worker-host-dies", title="A worker's host vanishes in the middle of a transaction", seconds=1,
            fault=failures.host_dies_in_a_transaction, opening=sites.with_worker_elsewhere, drains=60, spoils_site=True,
        ),
        Scenario(
            name="pgbouncer-restarted", title="PgBouncer is restarted, which takes 3 s", seconds=3,
            fault=failures.pgbouncer_restarted, opening=sites.behind_pgbouncer,
        ),
        Scenario(
            name="pgbouncer-postgresql-killed", title="PostgreSQL behind PgBouncer is killed for 5 s", seconds=5,
            fault=lambda on: on.postgres.killed(), opening=sites.behind_pgbouncer,
        ),
        Scenario(
            name="two-versions", title="The release before runs beside this one for 10 s, and stops", seconds=10,
            fault=failures.newer_version_beside, opening=sites.beside_an_older_version, web_is_away=True,
            spoils_site=True,
        ),
    ]  # fmt: skip


SCENARIOS = [*_redis(), *_postgresql(), *_programs(), *_others(), *_clocks(), *_elsewhere()]
