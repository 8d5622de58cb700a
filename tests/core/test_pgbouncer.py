"""PgBouncer in transaction mode between the platform and PostgreSQL."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from ingestion.models import Event, ProcessingFailure
from installation.local.data_dir import CHECKOUT
from tests.factories import make_organization
from tests.support.celery_process import workers
from tests.support.events.delivering import SECRET, delivered, received, webhook
from tests.support.http.clients import Sender, make_sender
from tests.support.http.proxies import postgres_proxy
from tests.support.http.receiver import receiver_process
from tests.support.postgresql.pgbouncer import PgBouncer, running_pgbouncer
from tests.support.servers import serve
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True)]
SECONDS = 120


def environment(pooler: PgBouncer) -> dict[str, Any]:
    return {"DATABASE_URL": pooler.url, "DATABASE_TRANSACTION_POOLING": "true"}


def send(sender: Sender, path: str, number: int) -> int:
    return sender.client.post(path, {"type": "t", "data": {"number": number}, "idempotency_key": str(number)}).status


def test_events_come_in_and_go_out_through_it_and_through_its_restart() -> None:
    organization = make_organization(plan="enterprise")
    with ExitStack() as stack:
        proxy = stack.enter_context(postgres_proxy())
        pooler = stack.enter_context(running_pgbouncer(proxy.port))
        address = stack.enter_context(receiver_process(SECRET, keep=True))
        webhook(organization, f"{address}/ok")
        server = stack.enter_context(serve("asgi", workers=1, **environment(pooler)))
        stack.enter_context(workers(**environment(pooler)))
        sender = make_sender(server.base_url, organization=organization)
        assert {send(sender, "/api/v1/events", number) for number in range(30)} == {202}
        batch = {"events": [{"type": "t", "data": number} for number in range(100)]}
        assert sender.client.post("/api/v1/events/batch", batch).status == 202
        wait_until(lambda: delivered(organization) == Event.objects.count(), seconds=SECONDS)
        pooler.kill()
        assert send(sender, "/api/v1/events", 1_000) == 503
        pooler.start()
        wait_until(lambda: send(sender, "/api/v1/events", 1_000) == 202, seconds=SECONDS)
        assert sender.client.get("/api/v1/events?limit=1000").status == 200
        assert sender.client.post("/api/v1/inbox/lease", {"max": 10}).status == 200
        wait_until(lambda: delivered(organization) == Event.objects.count(), seconds=SECONDS)
        arrived = received(address)
    assert set(arrived) == {str(pk) for pk in Event.objects.values_list("pk", flat=True)}
    assert not ProcessingFailure.objects.exists()
    connections.close_all()


@pytest.mark.long
def test_the_other_door_and_commands_work_through_it_and_a_backup_says_that_it_cannot(tmp_path: Path) -> None:
    with (
        postgres_proxy() as proxy,
        running_pgbouncer(proxy.port) as pooler,
        serve("wsgi", workers=1, **environment(pooler)) as server,
    ):
        sender = make_sender(server.base_url)
        assert {send(sender, "/api/v1/events", number) for number in range(10)} == {202}
        assert send(sender, "/api/v1/events", 0) == 200
        done = [manage("apply_retention", pooler), manage("migrate", pooler), manage("backup", pooler, str(tmp_path))]
    assert [one.returncode for one in done] == [0, 0, 1], done
    assert "cannot go through a pooler" in done[2].stderr
    connections.close_all()


def manage(command: str, pooler: PgBouncer, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", command, *arguments],
        cwd=CHECKOUT,
        env={**os.environ, **environment(pooler)},
        capture_output=True,
        text=True,
        check=False,
    )
