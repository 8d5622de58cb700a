"""docs/operations/standby.md: its commands as they stand, with both servers as clusters of one machine."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from tests.support.http.clients import Client
from tests.support.machines.debian_host import KEY, PASSWORD, Host, debian_host, sent
from tests.support.pages import run_by
from tests.support.servers import serve
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long

PREPARE, FOLLOW, SYNCHRONOUS, SEE, PROMOTE = (
    block.text for block in run_by("docs/operations/standby.md", Path(__file__).name)
)
STANDBY_PORT = 5433


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with debian_host() as made:
        yield made


def follow(host: Host, text: str) -> str:
    """Both are on this machine; the second one is the cluster `standby`."""
    for name, ours in {"CLUSTER": "standby", "PRIMARY": "127.0.0.1", "STANDBY": "127.0.0.1"}.items():
        text = re.sub(rf"^{name}=.*$", f"{name}={ours}", text, flags=re.MULTILINE)
    return host.follow(text)


@contextmanager
def platform_on_both(host: Host) -> Iterator[Client]:
    socket = quote(str(host.machine.path("/run/postgresql")), safe="/")
    url = (
        f"postgresql://events:{PASSWORD}@/events?host={socket},{socket}&port=5432,{STANDBY_PORT}"
        "&target_session_attrs=read-write"
    )
    key = host.machine.run("events-platform issue_key acme").stdout.split()[-1]
    with serve(workers=1, DATABASE_URL=url, SECRET_KEY=KEY) as server:
        client = Client(server.base_url, key)
        yield client
        client.close()


def test_a_synchronous_standby_that_is_promoted_has_every_acknowledged_event(host: Host) -> None:
    machine, version = host.machine, host.version
    machine.run(f"pg_createcluster --port {STANDBY_PORT} {version} standby -- --no-sync")
    hba = machine.path(f"/etc/postgresql/{version}/standby/pg_hba.conf")
    hba.write_text(f"local events events scram-sha-256\n{hba.read_text()}")
    follow(host, PREPARE)
    follow(host, FOLLOW)
    follow(host, SYNCHRONOUS)
    wait_until(lambda: "quorum" in follow(host, SEE))
    with platform_on_both(host) as client:
        acknowledged = sent(client, 100)
        machine.run(f"pg_ctlcluster {version} main stop --mode immediate")
        assert client.post("/api/v1/events", {"type": "t", "data": 1}).status == 503
        assert " f" in follow(host, PROMOTE)
        wait_until(lambda: client.post("/api/v1/events", {"type": "t", "data": 1}).status == 202)
        assert client.get("/api/v1/events").status == 200
    on_standby = f"{host.database_url}&port={STANDBY_PORT}"
    with psycopg.connect(on_standby) as session:
        stored = {str(pk) for (pk,) in session.execute("SELECT id FROM ingestion_event")}
    assert acknowledged <= stored
