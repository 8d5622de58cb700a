"""`manage.py backup` and `manage.py restore`: what was acknowledged before is there again, and works."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from io import StringIO
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from delivery.models import Subscription, SubscriptionKind
from delivery.operations import SubscriptionChanges, create_subscription
from ingestion.models import Event
from ingestion.operations import process_outbox
from installation.backup.making import make_backup
from installation.backup.manifest import read_manifest
from organizations.models import Organization
from organizations.plans import Plan
from tests.conftest import Tenant, make_tenant
from tests.factories import TESTER
from tests.support.http.clients import Client
from tests.support.http.receiver import Receiver, receiving
from tests.support.restored import EmptyDatabase, back_up, connected_to, empty_database, restore
from tests.support.servers import Server, serve
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def _served(database: EmptyDatabase) -> AbstractContextManager[Server]:
    """The platform on that database; webhooks may go to 127.0.0.1."""
    return serve(
        workers=1, DATABASE_URL=database.address, WEBHOOK_ALLOW_HTTP="true", WEBHOOK_ALLOWED_NETWORKS="127.0.0.1/32"
    )


def made_data(tenant: Tenant, receiver: Receiver) -> list[str]:
    """Events with deliveries, some of them acknowledged, and a webhook whose secret the receiver knows.

    Returns the addresses that show all of it.
    """
    changes = SubscriptionChanges(url=f"{receiver.url}/ok", headers={"X-Token": "abc"})
    created = create_subscription(
        organization=tenant.organization, kind=SubscriptionKind.WEBHOOK, changes=changes, actor=TESTER
    )
    receiver.trust(str(created.secret))
    events = [{"type": "t.a", "data": {"n": 1.10, "who": "Zoë"}, "idempotency_key": f"k{n}"} for n in range(5)]
    results = tenant.post("/api/v1/events/batch", {"events": events}).json()["results"]
    process_outbox()
    ids = [result["id"] for result in results]
    # Its first reader gives an inbox the deliveries of what came before.
    assert len(tenant.get("/api/v1/inbox").json()["data"]) == 5
    assert len(tenant.post("/api/v1/inbox/ack", {"event_ids": ids[:2]}).json()["acknowledged"]) == 2
    shown = [f"events/{event_id}" for event_id in ids]
    shown += [f"subscriptions/{pk}/deliveries" for pk in Subscription.objects.values_list("pk", flat=True)]
    return [f"/api/v1/{path}" for path in ("events", "event-types", "subscriptions", "inbox", "organization", *shown)]


def answers(client: Client, addresses: list[str]) -> list[bytes]:
    replies = [client.get(address) for address in addresses]
    assert {reply.status for reply in replies} == {200}
    return [reply.body for reply in replies]


def test_a_restored_platform_gives_the_same_answers_and_signs(tmp_path: Path, settings: Any) -> None:
    settings.WEBHOOK_ALLOW_HTTP, settings.WEBHOOK_ALLOWED_NETWORKS = True, [ip_network("127.0.0.1/32")]
    with receiving() as receiver, empty_database() as database:
        tenant = make_tenant()
        addresses = made_data(tenant, receiver)
        before = [tenant.get(address).content for address in addresses]
        said = restore(back_up(tmp_path, "--check").parent, database)
        assert str(Event.objects.order_by("-pk")[0].pk) in said
        with _served(database) as server:
            client = Client(server.base_url, tenant.plaintext)
            assert answers(client, addresses) == before
            again = {"type": "t.a", "data": {"n": 1.10, "who": "Zoë"}, "idempotency_key": "k0"}
            assert client.post("/api/v1/events", again).json()["duplicate"] is True
            assert client.post("/api/v1/events", {"type": "t.new", "data": 1}).status == 202
            webhook = Subscription.objects.get(kind=SubscriptionKind.WEBHOOK)
            assert client.post(f"/api/v1/subscriptions/{webhook.pk}/test", {}).json()["delivered"] is True
            assert receiver.received[-1].verified
            assert receiver.received[-1].headers["x-token"] == "abc"


@contextmanager
def sending(client: Client) -> Iterator[list[str]]:
    """Somebody sends without a pause; the ids of what was acknowledged so far."""
    acknowledged: list[str] = []
    ended = threading.Event()

    def send() -> None:
        while not ended.is_set():
            sent = client.post("/api/v1/events", {"type": "t.load", "data": len(acknowledged)})
            assert sent.status == 202, sent.body
            acknowledged.append(sent.json()["id"])

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield acknowledged
    finally:
        ended.set()
        sender.join()


def test_a_backup_under_load_holds_all_that_was_acknowledged_before(tmp_path: Path) -> None:
    """And the intake goes on: the dump does not begin before events came after its moment."""
    tenant = make_tenant()
    Organization.objects.update(plan=Plan.ENTERPRISE)
    with serve(workers=1) as server, sending(Client(server.base_url, tenant.plaintext)) as acknowledged:
        wait_until(lambda: len(acknowledged) >= 50)
        before = set(acknowledged)

        def say(line: str) -> None:
            if line.startswith("Counted"):
                counted = len(acknowledged)
                wait_until(lambda: len(acknowledged) >= counted + 20)

        made = make_backup(parent=tmp_path, say=say, on_bytes=lambda _: None)
        at_its_end = len(acknowledged)
        wait_until(lambda: len(acknowledged) > at_its_end)
    with empty_database() as database:
        restore(made.folder, database)
        restored = {str(pk) for (pk,) in database.rows("SELECT id FROM ingestion_event")}
        assert before <= restored < set(acknowledged)
        state = read_manifest(made.folder).state
        assert state.rows["ingestion_event"] == len(restored)
        assert state.newest_event is not None
        assert state.newest_event.id == max(restored)
        counted = {name: database.rows(f'SELECT count(*) FROM "{name}"')[0][0] for name in state.rows}
        assert counted == state.rows
        owners = "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        assert database.rows(owners) == [(database.role,)]
        assert database.rows("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(False,)]


def test_a_password_is_in_no_list_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []

    class Started(subprocess.Popen[Any]):
        def __init__(self, command: list[str], **options: Any) -> None:
            started.append((command, options.get("env") or {}))
            super().__init__(command, **options)

    monkeypatch.setattr(subprocess, "Popen", Started)
    with empty_database() as database:
        here = str(connection.settings_dict["NAME"])
        with connected_to(name=here, PASSWORD="hidden-word"):
            folder = back_up(tmp_path)
        with connected_to(name=database.name, USER=database.role, PASSWORD="hidden-word"):
            call_command("restore", str(folder), "--no-color", stdout=StringIO())
    connecting = [(Path(command[0]).name, env) for command, env in started if "PGPASSWORD" in env]
    assert [name for name, _ in connecting] == ["pg_dump", "pg_restore"]
    assert {env["PGPASSWORD"] for _, env in connecting} == {"hidden-word"}
    assert not [command for command, _ in started if "hidden-word" in " ".join(command)]
