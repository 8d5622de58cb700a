"""A machine with Debian's PostgreSQL and a platform in it, made as docs/operations/backup.md says."""

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
from tests.support.pages import blocks

PAGE = "docs/operations/backup.md"
_CREATE = Path("/usr/bin/pg_createcluster")
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


_WRAPPER = f"""#!/bin/sh
export DATABASE_URL=postgresql://events:{PASSWORD}@127.0.0.1/events REDIS_URL=redis://127.0.0.1:1/0 SECRET_KEY={KEY}
cd {CHECKOUT} && exec {sys.executable} manage.py "$@"
"""


@contextmanager
def debian_host() -> Iterator[Host]:
    """With role and database made as the page says, and a platform in it."""
    (make_role_and_database,) = [block.text for block in blocks(PAGE) if "CREATE DATABASE" in block.text]
    if not _CREATE.exists():
        pytest.skip(f"needs {_CREATE}, of Debian's package postgresql-common")
    with private_machine() as machine:
        version = machine.run("ls /usr/lib/postgresql | sort --version-sort | tail --lines=1").stdout.strip()
        host = Host(machine=machine, version=version)
        machine.run(f"pg_dropcluster --stop {version} main || true; pg_createcluster {version} main -- --no-sync")
        # Debian lets the socket's users in by their own names; the tests come through it as root.
        hba = machine.path(f"/etc/postgresql/{version}/main/pg_hba.conf")
        hba.write_text(f"local events events scram-sha-256\n{hba.read_text()}")
        host.postgres("start")
        machine.path("/usr/local/bin/events-platform").write_text(_WRAPPER)
        machine.run("chmod 755 /usr/local/bin/events-platform")
        host.follow(make_role_and_database)
        machine.run("events-platform migrate --no-input")
        machine.run("events-platform create_organization acme --plan enterprise")
        yield host


def sent(client: Client, number: int) -> set[str]:
    """The ids of so many events that were acknowledged."""
    events = [{"type": "t.a", "data": n} for n in range(number)]
    results = client.post("/api/v1/events/batch", {"events": events}).json()["results"]
    assert {result["status"] for result in results} == {"accepted"}
    return {result["id"] for result in results}
