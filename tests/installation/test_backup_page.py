"""docs/operations/backup.md: its commands as they stand, on a Debian cluster of their own.

Only what stands at the head of a block for the operator to choose is replaced: the version `V`, the moment `UNTIL`.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from installation.local.data_dir import CHECKOUT
from tests.support.http.clients import Client
from tests.support.machines.private_machine import PrivateMachine, private_machine
from tests.support.pages import run_by
from tests.support.servers import serve

pytestmark = pytest.mark.slow

PAGE = "docs/operations/backup.md"
# In their order: a block that is added needs a name, and a place in a test.
(
    BACK_UP,
    SET_ASIDE,
    RESTORE,
    MAKE_ROLE_AND_DATABASE,
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
CREATE = Path("/usr/bin/pg_createcluster")
PASSWORD = "change-me"
KEY = "p7Vq-3ZtXw_9LbYc2RmKdf8HsJgN4eUa6TyWoQ1i"


@dataclass(frozen=True, kw_only=True)
class Host:
    """A machine with Debian's PostgreSQL, and `events-platform` for `manage.py`."""

    machine: PrivateMachine
    version: str

    @property
    def database_url(self) -> str:
        """As a process of this machine, which has another network, reaches the server there."""
        socket = quote(str(self.machine.path("/run/postgresql")), safe="/")
        return f"postgresql://events:{PASSWORD}@/events?host={socket}"

    def follow(self, text: str, *, until: str = "", check: bool = True) -> str:
        """Run a block of the page; what it prints. Without `check`, its exit status comes first."""
        text = re.sub(r"^V=15$", f"V={self.version}", text, flags=re.MULTILINE)
        if until:
            text, times = re.subn(r"^UNTIL=.*$", f"UNTIL='{until}'", text, flags=re.MULTILINE)
            assert times == 1
        done = self.machine.run(text, check=check)
        return done.stdout if check else f"{done.returncode}\n{done.stdout}"

    def postgres(self, command: str) -> None:
        self.machine.run(f"pg_ctlcluster {self.version} main {command}")

    def ask(self, query: str) -> str:
        (row,) = self.rows(query)
        return str(row[0])

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database_url) as session:
            return session.execute(query.encode()).fetchall()

    def ids(self) -> set[str]:
        return {str(pk) for (pk,) in self.rows("SELECT id FROM ingestion_event")}


WRAPPER = f"""#!/bin/sh
export DATABASE_URL=postgresql://events:{PASSWORD}@127.0.0.1/events REDIS_URL=redis://127.0.0.1:1/0 SECRET_KEY={KEY}
cd {CHECKOUT} && exec {sys.executable} manage.py "$@"
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """With role and database made as the page says, and a platform in it."""
    if not CREATE.exists():
        pytest.skip(f"needs {CREATE}, of Debian's package postgresql-common")
    with private_machine() as machine:
        version = machine.run("ls /usr/lib/postgresql | sort --version-sort | tail --lines=1").stdout.strip()
        host = Host(machine=machine, version=version)
        machine.run(f"pg_dropcluster --stop {version} main || true; pg_createcluster {version} main -- --no-sync")
        # Debian lets the socket's users in by their own names; the tests come through it as root.
        hba = machine.path(f"/etc/postgresql/{version}/main/pg_hba.conf")
        hba.write_text(f"local events events scram-sha-256\n{hba.read_text()}")
        host.postgres("start")
        machine.path("/usr/local/bin/events-platform").write_text(WRAPPER)
        machine.run("chmod 755 /usr/local/bin/events-platform")
        host.follow(MAKE_ROLE_AND_DATABASE)
        machine.run("events-platform migrate --no-input")
        machine.run("events-platform create_organization acme --plan enterprise")
        yield host


@contextmanager
def platform(host: Host) -> Iterator[Client]:
    key = host.machine.run("events-platform issue_key acme").stdout.split()[-1]
    with serve(workers=1, DATABASE_URL=host.database_url, SECRET_KEY=KEY) as server:
        client = Client(server.base_url, key)
        yield client
        client.close()


def sent(client: Client, number: int) -> set[str]:
    """The ids of so many events that were acknowledged."""
    events = [{"type": "t.a", "data": n} for n in range(number)]
    results = client.post("/api/v1/events/batch", {"events": events}).json()["results"]
    assert {result["status"] for result in results} == {"accepted"}
    return {result["id"] for result in results}


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
