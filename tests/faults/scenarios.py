"""The table: every fault by an operator's name for it, how long it lasts, and what it runs on.

Rows on the same site stand together, for it is started once for all of them. Those of one program of ours stand apart:
its supervisor waits the longer the sooner it has ended again.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tests.faults.sites import Opening, Site, site


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One row. `name` is for `make faults ONLY=…`, `title` for the table.

    `in_ci`: one of the few that run with every change. `drains` is in how many seconds after the fault everything is
    delivered. `web_is_away`: the web server is what fails, so that it cannot say how it is.
    """

    name: str
    title: str
    seconds: float
    fault: Callable[[Site], AbstractContextManager[None]]
    opening: Opening = site
    drains: float = 30
    in_ci: bool = False
    web_is_away: bool = False


def _postgresql() -> list[Scenario]:
    return [
        Scenario(
            name="postgresql-killed", title="PostgreSQL is killed, and started again after 5 s",
            seconds=5, fault=lambda on: on.postgres.killed(), in_ci=True,
        ),
        *(
            Scenario(
                name=f"postgresql-hangs-{seconds}s", title=f"PostgreSQL hangs for {seconds} s",
                seconds=seconds, fault=lambda on: on.postgres.hanging(),
            )
            for seconds in (5, 25, 60)
        ),
        Scenario(
            name="postgresql-restarted", title="PostgreSQL is restarted, which takes 3 s",
            seconds=3, fault=lambda on: on.postgres.restarting(),
        ),
        Scenario(
            name="postgresql-read-only", title="PostgreSQL takes no writes for 10 s",
            seconds=10, fault=lambda on: on.postgres.read_only(), in_ci=True,
        ),
        Scenario(
            name="postgresql-locked", title="Somebody locks the tables of events for 15 s",
            seconds=15, fault=lambda on: on.postgres.locked(),
        ),
        Scenario(
            name="postgresql-no-connections", title="PostgreSQL has no free connection for 10 s",
            seconds=10, fault=lambda on: on.postgres.without_free_connections(),
        ),
        Scenario(
            name="postgresql-password", title="PostgreSQL demands another password for 10 s",
            seconds=10, fault=lambda on: on.postgres.with_another_password(),
        ),
    ]  # fmt: skip


def _redis() -> list[Scenario]:
    return [
        *(
            Scenario(
                name=f"redis-hangs-{seconds}s", title=f"Redis hangs for {seconds} s",
                seconds=seconds, fault=lambda on: on.redis.hanging(), in_ci=seconds == 25,
            )
            for seconds in (25, 60)
        ),
        Scenario(
            name="redis-password", title="Redis demands a password for 10 s",
            seconds=10, fault=lambda on: on.redis.demanding_a_password(),
        ),
        Scenario(
            name="redis-maxclients", title="Redis lets nobody in (maxclients) for 12 s",
            seconds=12, fault=lambda on: on.redis.without_free_connections(),
        ),
        Scenario(
            name="redis-killed", title="Redis is killed, and started again after 5 s",
            seconds=5, fault=lambda on: on.redis.killed(),
        ),
        Scenario(
            name="redis-emptied", title="Redis is emptied (FLUSHALL)",
            seconds=1, fault=lambda on: on.redis.emptied(), in_ci=True,
        ),
        Scenario(
            name="redis-full", title="Redis is full (maxmemory) for 12 s",
            seconds=12, fault=lambda on: on.redis.full(),
        ),
        Scenario(
            name="redis-replaced", title="Redis is replaced by an empty one after 5 s",
            seconds=5, fault=lambda on: on.redis.replaced_by_an_empty_one(),
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


SCENARIOS = [*_redis(), *_postgresql(), *_programs()]
