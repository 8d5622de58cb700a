"""Organizations and members change by operations, and each change leaves an audit entry."""

import tarfile
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from kombu.exceptions import ChannelError, OperationalError

from core.broker import wakeup
from core.partitions import making as partition_making
from core.partitions import weeks as partitions
from core.ports import SyncDatabase, run_now
from demo import demo_payloads
from events_platform.celery import app
from ingestion import tasks
from ingestion.models import Event, OutboxEntry
from ingestion.operations import process_outbox
from organizations.audit import Actor
from organizations.keys.authentication import authenticate
from organizations.keys.scopes import Scope
from organizations.models import AuditEntry, Organization, Role
from organizations.operations import (
    add_member,
    change_role,
    create_organization,
    remove_member,
    resume_organization,
    suspend_organization,
    update_organization,
)
from tests.conftest import Tenant
from tests.factories import UserFactory, make_organization

ACTOR = Actor(kind="user", label="casey", address="192.0.2.7")


def actions(organization: Organization) -> list[str]:
    return list(AuditEntry.objects.for_organization(organization.pk).order_by("pk").values_list("action", flat=True))


def test_each_change_of_an_organization_is_audited(db: None) -> None:
    organization = create_organization(name="Acme", slug="acme", plan="free", actor=ACTOR)
    changed = update_organization(organization=organization, changes={"plan": "pro", "name": "Acme"}, actor=ACTOR)
    assert changed.limits.events_per_minute == 1_000
    assert update_organization(organization=organization, changes={"plan": "pro"}, actor=ACTOR).plan == "pro"
    assert suspend_organization(organization=organization, reason="abuse", actor=ACTOR)
    assert not suspend_organization(organization=organization, reason="abuse", actor=ACTOR)
    assert resume_organization(organization=organization, actor=ACTOR)
    assert not resume_organization(organization=organization, actor=ACTOR)
    assert actions(organization) == [f"organization.{verb}" for verb in ("created", "updated", "suspended", "resumed")]
    entry = AuditEntry.objects.get(action="organization.updated")
    assert (entry.changes, entry.actor_label, entry.address) == ({"plan": ["free", "pro"]}, "casey", "192.0.2.7")
    assert "casey" in str(entry)


def test_each_change_of_a_member_is_audited(db: None) -> None:
    organization, user = make_organization(), UserFactory.create()
    membership = add_member(organization=organization, user=user, role=Role.MEMBER, actor=ACTOR)
    with pytest.raises(IntegrityError), transaction.atomic():
        add_member(organization=organization, user=user, role=Role.MEMBER, actor=ACTOR)
    assert change_role(membership=membership, role=Role.ADMIN, actor=ACTOR)
    assert not change_role(membership=membership, role=Role.ADMIN, actor=ACTOR)
    remove_member(membership=membership, actor=ACTOR)
    assert actions(organization) == ["member.added", "member.role_changed", "member.removed"]


def test_commands_create_an_organization_and_a_key_that_works(db: None) -> None:
    call_command("create_organization", "acme", plan="pro", stdout=StringIO())
    printed = StringIO()
    call_command("issue_key", "acme", stdout=printed)
    caller = run_now(authenticate(SyncDatabase(), {"x-api-key": printed.getvalue().strip()}))
    assert caller.organization_id == Organization.objects.get(slug="acme").pk
    assert caller.scopes == set(Scope)


def test_commands_say_what_is_wrong(db: None) -> None:
    call_command("create_organization", "acme", stdout=StringIO())
    with pytest.raises(CommandError, match="already"), transaction.atomic():
        call_command("create_organization", "acme")
    with pytest.raises(CommandError, match="no organization 'nobody'"):
        call_command("issue_key", "nobody")


@pytest.mark.parametrize("error", [OperationalError, ChannelError])
def test_an_event_is_accepted_while_the_broker_is_away_or_full(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(app, "send_task", fail)
    assert not wakeup.Waker("ingestion.process_outbox").send()
    assert tenant.post("/api/v1/events", {"type": "a", "data": 1}).status_code == 202
    assert OutboxEntry.objects.count() == 1


def test_rows_of_a_missing_partition_are_kept_and_move_into_it(tenant: Tenant) -> None:
    event_id = tenant.post("/api/v1/events", {"type": "a", "data": 1}).json()["id"]
    week = partitions.week_of(Event.objects.get().received_at)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE kept AS SELECT * FROM ingestion_event_{week:%Y%m%d}")
        cursor.execute(f"DROP TABLE ingestion_event_{week:%Y%m%d}")
        cursor.execute("INSERT INTO ingestion_event SELECT * FROM kept")
        cursor.execute("SELECT count(*) FROM ingestion_event_default")
        assert cursor.fetchone() == (1,)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        assert partition_making.make_partitions(now=week) == [f"ingestion_event_{week:%Y%m%d}"]
        cursor.execute("SELECT count(*) FROM ingestion_event_default")
        assert cursor.fetchone() == (0,)
    assert tenant.get(f"/api/v1/events/{event_id}").status_code == 200


def test_nothing_more_is_asked_for_once_all_that_waited_is_claimed(tenant: Tenant) -> None:
    for number in range(3):
        assert tenant.post("/api/v1/events", {"type": "a", "data": number}).status_code == 202
    with CaptureQueriesContext(connection) as asked:
        assert process_outbox() == 3
    assert sum("DELETE FROM ingestion_outboxentry" in query["sql"] for query in asked) == 1


def test_tasks_run(db: None) -> None:
    tasks.process_outbox(settle=True)  # as a web server of version 0.2 asks for it
    tasks.retry_failed()
    tasks.remove_expired_idempotency_keys()
    tasks.make_partitions()


def test_demo_payloads_are_read_from_the_package(tmp_path: Path) -> None:
    content = msgspec.json.encode([{"name": "star", "examples": [{"action": "created"}, {"n": 1}]}])
    with tarfile.open(tmp_path / demo_payloads._ARCHIVE, "w:gz") as archive:
        member = tarfile.TarInfo(demo_payloads._INDEX)
        member.size = len(content)
        archive.addfile(member, BytesIO(content))
    payloads, _ = demo_payloads.github_payloads(tmp_path)
    assert [payload.type for payload in payloads] == ["github.star.created", "github.star"]


def test_demo_has_examples_of_its_own_without_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    payloads, said = demo_payloads.github_payloads(tmp_path)
    assert len(payloads) == 6
    assert "built-in" in said
