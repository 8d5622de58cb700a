"""What is erased is gone, wherever it was; and nobody else notices."""

import json
import re
import zipfile
from datetime import timedelta
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from uuid_utils.compat import uuid7

from delivery.models import Attempt, Delivery, Subscription, SubscriptionKind
from delivery.operations import SubscriptionChanges, create_subscription
from ingestion.models import Event, IdempotencyKey, IntakeCount
from ingestion.operations import process_outbox
from lifecycle.erasing.events import ErasureCriteria, start_event_erasure
from lifecycle.erasing.organization import models_of_organizations, start_organization_erasure
from lifecycle.erasing.running import run_erasures
from lifecycle.models import Erasure, ErasureKind
from organizations.jobs.models import JobStatus
from organizations.keys.authentication import forget_cached_keys
from organizations.models import ApiKey, AuditEntry, Membership, Organization
from organizations.operations import resume_organization
from tests.conftest import Tenant, make_tenant
from tests.factories import TESTER, UserFactory

pytestmark = pytest.mark.django_db
TENANTS = 200
# Those whose answers are read; of all the others every row is compared.
READ = 10
LISTS = ("events", "subscriptions", "event-types", "organization", "api-keys", "inbox?status=delivered")


def fill(tenant: Tenant, number: int) -> list[str]:
    """Two events, an inbox with one of them acknowledged, a webhook with an attempt; returns the addresses to read."""
    organization = tenant.organization
    Subscription.objects.create(organization=organization, kind=SubscriptionKind.INBOX, name="default")
    webhook = Subscription.objects.create(
        organization=organization, kind=SubscriptionKind.WEBHOOK, url="https://a.example/hook"
    )
    events = [{"type": f"t.{key}", "data": {"user": {"email": f"{key}{number}@example.com"}}} for key in "ab"]
    results = tenant.post("/api/v1/events/batch", {"events": events}).json()["results"]
    ids = [result["id"] for result in results]
    addresses = [f"/api/v1/{name}" for name in LISTS] + [f"/api/v1/events/{pk}" for pk in ids]
    return [*addresses, f"/api/v1/subscriptions/{webhook.pk}/deliveries"]


def add_attempts() -> None:
    Attempt.objects.bulk_create(
        Attempt(id=uuid7(), organization_id=row.organization_id, subscription_id=row.subscription_id,
                delivery_id=row.pk, number=1, started_at=row.created_at, duration_ms=3, status_code=200,
                response="hello a0@example.com")
        for row in Delivery.objects.all()
    )  # fmt: skip


def answers(tenant: Tenant, addresses: list[str]) -> list[bytes]:
    """Without when the key was used last: asking changes it once a minute."""
    return [re.sub(rb'"last_used_at":"[^"]*"', b"", tenant.get(address).content) for address in addresses]


def rows_of_others(leaving: Organization) -> dict[str, list[Any]]:
    """All rows of all tables of everybody else, but the counts of requests, which the test itself adds to."""
    found = {}
    for model in models_of_organizations():
        rows = model._default_manager.exclude(organization=None).exclude(organization=leaving.pk).order_by("pk")
        if model is not IntakeCount:
            found[model._meta.label] = list(rows.values())
    return found


def long_suspended() -> None:
    Organization.objects.exclude(suspended_at=None).update(suspended_at=timezone.now() - timedelta(minutes=1))


@pytest.mark.slow
def test_erasing_one_of_two_hundred_leaves_the_answers_of_the_others_as_they_are() -> None:
    tenants = [make_tenant() for _ in range(TENANTS)]
    addresses = [fill(tenant, number) for number, tenant in enumerate(tenants)]
    process_outbox()
    add_attempts()
    member = UserFactory.create()
    Membership.objects.create(organization=tenants[0].organization, user=member, role="owner")
    ApiKey.objects.update(last_used_at=timezone.now())
    leaving = tenants[0].organization
    others = list(zip(tenants[1:], addresses[1:], strict=True))[:: TENANTS // READ]
    before, rows = [answers(*other) for other in others], rows_of_others(leaving)
    assert all(b'"t.a"' in found[0] for found in before)
    start_organization_erasure(organization=leaving, actor=TESTER)
    run_erasures()
    assert Organization.objects.filter(pk=leaving.pk).exists()  # a server may still take its keys
    long_suspended()
    run_erasures()

    assert [answers(*other) for other in others] == before
    assert rows_of_others(leaving) == rows
    assert not Organization.objects.filter(pk=leaving.pk).exists()
    for model in models_of_organizations():
        assert not model._default_manager.filter(organization=leaving.pk).exists(), model
    assert (Event.objects.count(), Attempt.objects.count()) == (2 * TENANTS - 2, 4 * TENANTS - 4)
    erasure = Erasure.objects.get()
    entry = AuditEntry.objects.get(action="organization.erased")
    assert (erasure.status, entry.organization, entry.target_id) == ("done", None, str(erasure.pk))
    assert (erasure.removed["events"], erasure.removed["deliveries"]) == (2, 4)
    text = json.dumps([entry.changes, entry.target_label, erasure.removed, erasure.criteria])
    assert leaving.name not in text
    assert leaving.slug not in text
    assert User.objects.filter(pk=member.pk).exists()


def test_an_erasure_goes_on_where_a_kill_ended_it(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tenant, 0)
    process_outbox()
    erasure = start_organization_erasure(organization=tenant.organization, actor=TESTER)
    assert start_organization_erasure(organization=tenant.organization, actor=TESTER) == erasure
    long_suspended()
    with monkeypatch.context() as broken:
        broken.setattr("lifecycle.erasing.organization.remove_events", lambda **_: 1 / 0)
        run_erasures()
    erasure.refresh_from_db()
    assert (erasure.status, erasure.failures) == (JobStatus.RUNNING, 1)
    assert not Delivery.objects.exists()
    assert Event.objects.count() == 2
    forget_cached_keys()
    assert tenant.get("/api/v1/events").status_code == 403
    run_erasures()
    erasure.refresh_from_db()
    assert erasure.status == JobStatus.DONE
    forget_cached_keys()
    assert tenant.get("/api/v1/events").status_code == 401


def test_the_command_asks_for_the_slug(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    slug = tenant.organization.slug
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "something else")
    with pytest.raises(CommandError, match="Nothing was erased"):
        call_command("erase_organization", slug)
    monkeypatch.setattr("builtins.input", lambda _: slug)
    monkeypatch.setattr("time.sleep", lambda _: long_suspended())
    monkeypatch.setattr("lifecycle.erasing.organization.SETTLED_AFTER", timedelta(0))
    call_command("erase_organization", slug, stdout=StringIO())
    assert not Organization.objects.exists()


def no_answer(question: str) -> str:
    raise EOFError


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(
    ("command", "options"), [("erase_organization", []), ("erase_events", ["--where=subject=a", "--organization"])]
)
def test_without_an_answer_nothing_is_erased(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, command: str, options: list[str], *, terminal: bool
) -> None:
    tenant.post("/api/v1/events", {"type": "a", "data": 1, "subject": "a"})
    monkeypatch.setattr("sys.stdin.isatty", lambda: terminal)
    monkeypatch.setattr("builtins.input", no_answer)
    with pytest.raises(CommandError, match=r"^Nothing was \w+\.$" if terminal else "no terminal to ask at: give --yes"):
        call_command(command, *options, tenant.organization.slug, stdout=StringIO())
    assert Event.objects.exists()
    assert not Erasure.objects.exists()


def test_an_erased_organization_cannot_be_resumed_into_life(tenant: Tenant) -> None:
    """Somebody resumes it: its data leaves all the same, and the end waits until it is suspended again."""
    fill(tenant, 0)
    start_organization_erasure(organization=tenant.organization, actor=TESTER)
    resume_organization(organization=tenant.organization, actor=TESTER)
    run_erasures()
    assert Organization.objects.filter(pk=tenant.organization.pk).exists()
    assert not Event.objects.exists()


def test_events_are_erased_by_what_they_say(tenant: Tenant, other_tenant: Tenant) -> None:
    for number, each in enumerate((tenant, other_tenant)):
        fill(each, number)
        each.post("/api/v1/events", {"type": "t.c", "data": {"user": {"email": "a0@example.com"}}})
    process_outbox()
    add_attempts()
    command = {"organization": tenant.organization.slug, "where": ["data.user.email=a0@example.com"]}
    out = StringIO()
    call_command("erase_events", **command, dry_run=True, stdout=out)
    assert out.getvalue().startswith("2 events")
    assert Event.objects.count() == 6
    call_command("erase_events", **command, yes=True, stdout=out)
    left = Event.objects.for_organization(tenant.organization.pk)
    assert list(left.values_list("type", flat=True)) == ["t.b"]
    assert Delivery.objects.for_organization(tenant.organization.pk).count() == 2
    assert Attempt.objects.for_organization(tenant.organization.pk).count() == 2
    assert Event.objects.for_organization(other_tenant.organization.pk).count() == 3
    kept = json.dumps(list(AuditEntry.objects.values()) + list(Erasure.objects.values()), default=str)
    assert "data.user.email" in kept
    assert "a0@example.com" not in kept


def test_the_key_of_an_erased_event_is_gone_until_it_expires(tenant: Tenant) -> None:
    """A duplicate would name an event that nobody can read; so would one whose event retention took."""
    event = {"type": "t.c", "data": {"user": "a0"}, "idempotency_key": "k"}
    first = tenant.post("/api/v1/events", event).json()
    process_outbox()
    call_command("erase_events", organization=tenant.organization.slug, where=["data.user=a0"], yes=True)
    for body in (event, {**event, "data": 1}):
        reply = tenant.post("/api/v1/events", body)
        assert (reply.status_code, reply.json()["code"]) == (410, "event_erased")
    batch = tenant.post("/api/v1/events/batch", [event, {**event, "idempotency_key": "l"}]).json()
    assert [item["status"] for item in batch["results"]] == ["rejected", "accepted"]
    assert batch["results"][0]["error"]["code"] == "event_erased"
    IdempotencyKey.objects.update(expires_at=timezone.now())
    again = tenant.post("/api/v1/events", event)
    assert again.status_code == 202
    assert again.json()["id"] != first["id"]


def test_parts_are_redacted_wherever_they_are_shown(tenant: Tenant) -> None:
    body = {"type": "t", "subject": "a0@example.com", "data": {"user": {"email": "a0@example.com", "age": 41}, "n": 1}}
    event_id = tenant.post("/api/v1/events", body).json()["id"]
    tenant.post("/api/v1/events", {"type": "t", "data": [1]})
    process_outbox()
    add_attempts()
    criteria = ErasureCriteria(where=[("data.user.age", "41")], redact=["data.user.email", "subject", "data.none.such"])
    start_event_erasure(organization=tenant.organization, criteria=criteria, actor=TESTER)
    run_erasures()
    shown = tenant.get(f"/api/v1/events/{event_id}").json()
    assert shown["data"] == {"user": {"email": "[redacted]", "age": 41}, "n": 1}
    assert shown["subject"] is None
    leased = tenant.post("/api/v1/inbox/lease", {"max": 10}).json()["events"]
    everything = json.dumps([shown, leased, tenant.get("/api/v1/inbox").json()])
    assert "a0@example.com" not in everything
    assert Erasure.objects.get().kind == ErasureKind.REDACTION
    entry = AuditEntry.objects.get(action="events.redacted")
    assert entry.changes["redact"] == ["data.user.email", "subject", "data.none.such"]
    assert entry.changes["removed"]["events redacted"] == 1


@pytest.mark.parametrize(
    "options",
    [{}, {"where": ["data=1"]}, {"where": ["user=1"]}, {"where": ["data.a"]}, {"type": "t", "redact": "id"}],
)
def test_nonsense_is_refused(tenant: Tenant, options: dict[str, Any]) -> None:
    with pytest.raises(CommandError):
        call_command("erase_events", organization=tenant.organization.slug, **options)


def test_superusers_start_it_in_the_admin(tenant: Tenant) -> None:
    fill(tenant, 0)
    client = Client()
    client.force_login(User.objects.create_superuser("casey"), backend="django.contrib.auth.backends.ModelBackend")
    form = {"kind": "events", "slug": tenant.organization.slug, "where": "data.user.email=a0@example.com", "type": "",
            "redact": ""}  # fmt: skip
    assert client.get("/admin/events_platform/erasure/add/").status_code == 200
    assert (
        "Say which events" in client.post("/admin/events_platform/erasure/add/", {**form, "where": ""}).content.decode()
    )
    answer = client.post("/admin/events_platform/erasure/add/", {**form, "received_after_0": "yesterday"})
    assert "Enter a valid date" in answer.content.decode()
    assert client.post("/admin/events_platform/erasure/add/", form).status_code == 302
    run_erasures()
    assert list(Event.objects.values_list("type", flat=True)) == ["t.b"]
    listed = client.get("/admin/events_platform/erasure/").content.decode()
    assert tenant.organization.name in listed
    client.post("/admin/events_platform/erasure/add/", {**form, "kind": "organization"})
    long_suspended()
    run_erasures()
    assert not Organization.objects.exists()
    page = client.get("/admin/events_platform/erasure/").content.decode()
    assert page.count("done") + page.count("Done") == 2
    # Nobody has its name any more.
    assert page.count(str(tenant.organization.pk)) == 2
    staff = Client()
    staff.force_login(UserFactory.create(is_staff=True), backend="django.contrib.auth.backends.ModelBackend")
    assert staff.get("/admin/events_platform/erasure/").status_code == 403


@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_an_export_has_everything_but_secrets(
    tenant: Tenant, other_tenant: Tenant, tmp_path: Path, suffix: str
) -> None:
    fill(tenant, 0)
    fill(other_tenant, 1)
    process_outbox()
    add_attempts()
    created = create_subscription(
        organization=tenant.organization,
        kind=SubscriptionKind.WEBHOOK,
        changes=SubscriptionChanges(url="https://8.8.8.8/x", headers={"Authorization": "Bearer very secret"}),
        actor=TESTER,
    )
    to = tmp_path / f"export{suffix}"
    call_command("export_organization", tenant.organization.slug, to=to, stdout=StringIO())
    if suffix:
        with zipfile.ZipFile(to) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
    else:
        files = {path.name: path.read_bytes() for path in to.iterdir()}
    assert to.stat().st_mode & 0o077 == 0
    manifest = json.loads(files.pop("manifest.json"))
    for entry in manifest["files"]:
        content = files.pop(entry["name"])
        assert (len(content), sha256(content).hexdigest()) == (entry["bytes"], entry["sha256"])
        assert len([json.loads(line) for line in content.splitlines()]) == entry["rows"]
        for secret in (created.subscription.secret, str(created.secret), tenant.plaintext, "very secret", "1@example"):
            assert secret.encode() not in content
    assert files == {}
    rows = {entry["name"]: entry["rows"] for entry in manifest["files"]}
    assert rows["ingestion_event.ndjson"] == 2
    assert rows["delivery_delivery.ndjson"] == rows["delivery_attempt.ndjson"] == 4
    with pytest.raises(CommandError, match="exists already"):
        call_command("export_organization", tenant.organization.slug, to=to)
