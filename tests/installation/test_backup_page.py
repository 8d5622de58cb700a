"""docs/operations/backup.md: its commands as they stand, on a Debian cluster of their own.

Only what stands at the head of a block for the operator to choose is replaced: the version `V`, the moment `UNTIL`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.support.http.clients import Client
from tests.support.machines.debian_host import KEY, PAGE, Host, debian_host, sent
from tests.support.pages import run_by
from tests.support.servers import serve

pytestmark = pytest.mark.slow

# In their order: a block that is added needs a name, and a place in a test.
(
    BACK_UP,
    SET_ASIDE,
    RESTORE,
    _,  # the role and the database, which `debian_host` makes
    DUMP_ALONE,
    RESTORE_ALONE,
    ARCHIVE,
    SEE_THE_ARCHIVE,
    MAKE_BASE,
    REMOVE_OLD,
    RECOVER,
    SEE_THE_TIMELINE,
    END_RECOVERY,
) = (block.text for block in run_by(PAGE, Path(__file__).name))


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with debian_host() as made:
        yield made


@contextmanager
def platform(host: Host) -> Iterator[Client]:
    key = host.machine.run("events-platform issue_key acme").stdout.split()[-1]
    with serve(workers=1, DATABASE_URL=host.database_url, SECRET_KEY=KEY) as server:
        client = Client(server.base_url, key)
        yield client
        client.close()


def test_both_kinds_of_dump_come_back_by_the_commands_of_the_page(host: Host) -> None:
    with platform(host) as client:
        acknowledged = host.ids() | sent(client, 20)
    assert "all keys are set" in host.follow(BACK_UP)
    host.follow(DUMP_ALONE)
    for restore in (RESTORE, RESTORE_ALONE):
        host.follow(SET_ASIDE)
        with pytest.raises(psycopg.errors.UndefinedTable):
            host.ids()
        host.follow(restore)
        assert host.ids() == acknowledged
        assert host.rows("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'") == [("events",)]
        host.machine.run("runuser -u postgres -- dropdb events_before")


def test_the_moment_before_a_mistake_comes_back(host: Host) -> None:
    """And without recovery.signal in the data folder it does not, which the page's own check tells."""
    host.follow(ARCHIVE)
    host.follow(SEE_THE_ARCHIVE)
    with platform(host) as client:
        acknowledged = host.ids() | sent(client, 20)
        host.follow(MAKE_BASE)
        at_base = set(acknowledged)
        acknowledged |= sent(client, 20)
        until = host.ask("SELECT clock_timestamp()")
        with psycopg.connect(host.database_url) as session:
            session.execute("DELETE FROM ingestion_event")
        later = sent(client, 20)
        assert host.ids() == later
    host.follow(REMOVE_OLD)

    host.follow(RECOVER.replace("touch $DATA/", "touch /etc/postgresql/$V/main/"), until=until)
    assert host.machine.path(f"/etc/postgresql/{host.version}/main/recovery.signal").exists()
    said = host.follow(SEE_THE_TIMELINE, check=False)
    assert said.startswith("1\n")
    assert "NOTHING WAS REPLAYED" in said
    assert host.ids() == at_base

    # Back to the server that has the mistake, and once more as the page says.
    host.postgres("stop")
    host.machine.run(f"cd /var/lib/postgresql/{host.version} && rm -r main && mv main.before main")
    host.postgres("start")
    host.follow(RECOVER, until=until)
    said = host.follow(SEE_THE_TIMELINE)
    assert "Replayed: timeline 1 became 2." in said
    assert f"{max(acknowledged)}|" in said
    assert host.ids() == acknowledged
    log = host.machine.path(f"/var/log/postgresql/postgresql-{host.version}-main.log").read_text()
    assert "recovery stopping before commit of transaction" in log
    assert "archive recovery complete" in log
    host.follow(END_RECOVERY)
    with platform(host) as client:
        new = sent(client, 1)
        assert host.ids() == acknowledged | new
