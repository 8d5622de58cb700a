"""What stays is bounded for each organization, with an error that says what to do; and the organization tells it."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import time_machine
from django.contrib.auth.models import User
from django.utils import timezone
from uuid_utils.compat import uuid7

from console.exports import limits as export_limits
from console.models import Export, ExportPart, ExportStatus, SavedView
from core.secrets import decrypt_secret
from delivery.matching import interests
from delivery.matching.interests import subscription_index
from delivery.models import Delivery, DeliveryStatus, Replay, Subscription, SubscriptionKind
from delivery.operations import default_inboxes, subscription_fields
from delivery.operations import deliveries as delivery_operations
from delivery.operations import subscriptions as subscription_operations
from delivery.webhooks import guard
from ingestion.models import EventType, HourlyStat
from ingestion.operations import process_outbox
from ingestion.operations.catalogue import OTHER
from lifecycle.retention.running import apply_retention
from notifications.models import SlackChannel
from organizations.audit import Actor, ActorKind
from organizations.jobs.models import JobStatus
from organizations.models import ApiKey, AuditEntry, Invitation, Membership, Organization, Role
from organizations.operations import keys as key_operations
from organizations.operations import remove_member
from organizations.plans import LIMITS, Limits, Plan
from tests.conftest import Tenant, make_tenant
from tests.factories import UserFactory, make_organization
from tests.support.limiting import set_limits
from tests.support.people.console_data import browser_of, make_member
from tests.support.people.console_exports import begin, finish
from tests.support.people.console_site import Site, as_role, errors, site_of

ROOT = Path(__file__).parents[2]
KEY = {"name": "x", "scopes": ["events:read"]}
HOOK = {"kind": "webhook", "url": "https://example.com/hook"}


@pytest.fixture(autouse=True)
def _no_name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_fields, "check_destination", guard.check_url)


@pytest.fixture
def admin(tenant: Tenant) -> Site:
    return as_role(tenant.organization, Role.ADMIN)


def is_refused(answer: Any, words: str) -> bool:
    """With 409, and with these words."""
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "limit_reached"), problem
    assert words in problem["detail"]
    return True


def send(tenant: Tenant, *types: str) -> None:
    for name in types:
        assert tenant.post("/api/v1/events", {"type": name, "data": 1}).status_code == 202
    process_outbox()


def usage_of(tenant: Tenant) -> dict[str, int]:
    usage: dict[str, int] = tenant.get("/api/v1/organization").json()["usage"]
    return usage


# --- What is told ----------------------------------------------------------------------------------------------------


def test_each_limit_is_told_with_what_is_used_of_it(tenant: Tenant) -> None:
    send(tenant, "a", "b")
    shown = tenant.get("/api/v1/organization").json()
    assert shown["limits"] == vars(LIMITS[Plan.FREE])
    told_otherwise = {"events_per_minute", "retention_days", "deliveries_per_event", "saved_views", "changes_per_hour"}
    assert shown["usage"].keys() - {"events_last_24_hours", "events_last_30_days"} == (
        shown["limits"].keys() - told_otherwise
    )
    used = shown["usage"]
    assert (used["event_types"], used["api_keys"], used["subscriptions"], used["members"]) == (2, 1, 1, 0)


def test_the_docs_have_each_limit_with_its_numbers() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", _page(), re.MULTILINE)
    documented = {name: [_number(text) for text in numbers] for name, *numbers in rows}
    assert documented == {name: [getattr(LIMITS[plan], name) for plan in Plan] for name in Limits.__dataclass_fields__}


def _page() -> str:
    return (ROOT / "docs/limits.md").read_text()


def _number(text: str) -> int:
    amount, unit, _ = text.replace(" ", "").partition("MiB")
    return int(amount) * (2**20 if unit else 1)


def test_the_usage_page_shows_the_meters(tenant: Tenant, admin: Site) -> None:
    send(tenant, "a")
    page = admin.page("usage/")
    assert "1 of 10\u202f000" in page
    assert "Active API keys" in page


# --- API keys --------------------------------------------------------------------------------------------------------


def test_active_keys_have_a_limit_and_a_full_organization_can_rotate(
    tenant: Tenant, admin: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(monkeypatch, api_keys=2)
    second = tenant.post("/api/v1/api-keys", KEY).json()["id"]
    assert is_refused(tenant.post("/api/v1/api-keys", KEY), "2 active API keys. Revoke one")
    assert "2 active API keys" in errors(admin.post("keys/issue", name="x", scopes="events:read"))
    rotated = [tenant.post(f"/api/v1/api-keys/{second}/rotate") for _ in range(3)]
    assert [answer.status_code for answer in rotated] == [201, 201, 409]
    assert usage_of(tenant)["api_keys"] == 4
    for key in ApiKey.objects.exclude(pk=tenant.key.pk):
        tenant.request("DELETE", f"/api/v1/api-keys/{key.pk}")
    assert tenant.post("/api/v1/api-keys", KEY).status_code == 201


def test_revoked_keys_make_room_and_leave(tenant: Tenant, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(key_operations, "MAX_ENDED_KEYS", 3)
    for _ in range(6):
        made = tenant.post("/api/v1/api-keys", KEY).json()["id"]
        tenant.request("DELETE", f"/api/v1/api-keys/{made}")
    assert ApiKey.objects.count() <= 5
    settings.KEY_RETENTION_DAYS = 30
    ended = ApiKey.objects.filter(revoked_at__isnull=False)
    ended.update(revoked_at=timezone.now() - timedelta(days=31))
    apply_retention()
    assert list(ApiKey.objects.all()) == [tenant.key]


# --- Event types -----------------------------------------------------------------------------------------------------


def test_events_of_types_beyond_the_limit_are_taken_and_counted_together(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(monkeypatch, event_types=2)
    send(tenant, "a", "b", "c", "d", "a", "c")
    counts = dict(EventType.objects.values_list("name", "count"))
    assert counts == {"a": 2, "b": 1, OTHER: 3}
    assert dict(HourlyStat.objects.values_list("type", "count")) == counts
    listed = tenant.get("/api/v1/event-types").json()["data"]
    assert {row["name"]: row["count"] for row in listed} == counts
    assert len(tenant.get("/api/v1/events?type=c").json()["data"]) == 2
    assert is_refused(tenant.post("/api/v1/event-types", {"name": "e"}), "2 event types")
    assert tenant.post("/api/v1/event-types", {"name": "a", "description": "Known."}).status_code == 201


def test_the_console_finds_folded_types_by_their_start(
    tenant: Tenant, admin: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(monkeypatch, event_types=1)
    send(tenant, "invoice.paid", "invoice.sent")
    page = admin.page("events/?type=invoice.*")
    assert "invoice.paid" in page
    assert "invoice.sent" in page


def test_types_that_nobody_described_leave_after_their_events(tenant: Tenant, settings: Any) -> None:
    settings.EVENT_TYPE_RETENTION_DAYS = 90
    now = timezone.now()
    yearly = make_organization(plan=Plan.ENTERPRISE)
    for organization, name, days, description in (
        (tenant.organization, "young", 89, ""),
        (tenant.organization, "old", 91, ""),
        (tenant.organization, "described", 500, "For people."),
        (yearly, "kept", 364, ""),
        (yearly, "gone", 366, ""),
    ):
        seen = now - timedelta(days=days)
        EventType.objects.create(
            organization=organization, name=name, first_seen_at=seen, last_seen_at=seen, description=description
        )
    tenant.post("/api/v1/event-types", {"name": "never-seen"})
    tenant.request("DELETE", "/api/v1/event-types/never-seen")
    apply_retention()
    assert EventType.objects.filter(name="never-seen").exists()
    EventType.objects.filter(name="never-seen").update(changed_at=now - timedelta(days=2))
    apply_retention()
    assert set(EventType.objects.values_list("name", flat=True)) == {"young", "described", "kept"}


# --- Subscriptions, deliveries, replays ------------------------------------------------------------------------------


def test_subscriptions_are_limited_by_plan_or_override(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch, subscriptions=2)
    default_inboxes([tenant.organization.pk])
    assert tenant.post("/api/v1/subscriptions", HOOK).status_code == 201
    assert is_refused(tenant.post("/api/v1/subscriptions", HOOK), "2 subscriptions. Delete one")
    Organization.objects.update(subscriptions_override=3)
    assert tenant.post("/api/v1/subscriptions", HOOK).status_code == 201
    limits = tenant.get("/api/v1/organization").json()["limits"]
    assert (limits["subscriptions"], limits["deliveries_per_event"]) == (3, 3)


def test_deleted_subscriptions_count_until_they_leave(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch, subscriptions=2)
    monkeypatch.setattr(subscription_operations, "MAX_ROWS_FACTOR", 2)
    default_inboxes([tenant.organization.pk])
    for _ in range(3):
        made = tenant.post("/api/v1/subscriptions", HOOK).json()["id"]
        tenant.request("DELETE", f"/api/v1/subscriptions/{made}")
    assert is_refused(tenant.post("/api/v1/subscriptions", HOOK), "Wait a day")
    deleted = Subscription.objects.filter(status="deleted")
    deleted.update(changed_at=timezone.now() - timedelta(days=2))
    kept = deleted.order_by("pk")[0]
    _delivery(tenant.organization, kept.pk)
    apply_retention()
    assert list(deleted) == [kept]
    assert tenant.post("/api/v1/subscriptions", HOOK).status_code == 201


def _delivery(organization: Organization, subscription_id: UUID, **values: Any) -> Delivery:
    defaults = {"status": DeliveryStatus.DELIVERED, "event_id": uuid7(), "created_at": timezone.now()}
    return Delivery.objects.create(
        id=uuid7(), organization=organization, subscription_id=subscription_id, **{**defaults, **values}
    )


def test_filters_are_bounded_together(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch, filter_bytes=3_000)
    large = {"data.a": {"in": ["x" * 100] * 20}}
    first = tenant.post("/api/v1/subscriptions", {**HOOK, "filter": large}).json()["id"]
    assert is_refused(tenant.post("/api/v1/subscriptions", {**HOOK, "filter": large}), "3000 bytes together")
    second = tenant.post("/api/v1/subscriptions", HOOK).json()["id"]
    assert is_refused(
        tenant.request("PATCH", f"/api/v1/subscriptions/{second}", {"filter": large}), "Make some shorter"
    )
    assert Subscription.objects.get(pk=second).filter is None
    assert 2_000 < usage_of(tenant)["filter_bytes"] < 3_000
    tenant.request("DELETE", f"/api/v1/subscriptions/{first}")
    assert tenant.request("PATCH", f"/api/v1/subscriptions/{second}", {"filter": large}).status_code == 200


def test_a_worker_remembers_filters_up_to_a_size(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interests, "REMEMBERED_BYTES", 5_000)
    ids = []
    for _ in range(4):
        organization = make_organization()
        Subscription.objects.create(
            organization=organization,
            kind=SubscriptionKind.INBOX,
            name="a",
            filter={"data.a": {"in": ["x" * 100] * 20}},
        )
        ids.append(organization.pk)
    assert len(subscription_index.of(ids)) == 4
    assert len(subscription_index._known) == 2
    assert subscription_index.of(ids[:1]).keys() == set(ids[:1])


def test_replays_of_a_day_have_a_limit(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch, replays_per_day=1)
    inbox = default_inboxes([tenant.organization.pk])[tenant.organization.pk]
    criteria = {
        "subscription": str(inbox),
        "received_after": "2026-01-01T00:00:00Z",
        "received_before": "2026-01-02T00:00:00Z",
    }
    assert tenant.post("/api/v1/replays", criteria).status_code == 202
    Replay.objects.update(status=JobStatus.DONE)
    assert is_refused(tenant.post("/api/v1/replays", criteria), "1 replays a day. Try again later")
    assert tenant.post("/api/v1/replays", {**criteria, "dry_run": True}).status_code == 202
    Replay.objects.update(created_at=timezone.now() - timedelta(days=2))
    assert tenant.post("/api/v1/replays", criteria).status_code == 202


def test_a_delivery_is_not_tried_for_ever(tenant: Tenant) -> None:
    hook = tenant.post("/api/v1/subscriptions", HOOK).json()["id"]
    delivery = _delivery(
        tenant.organization, hook, status=DeliveryStatus.RETRYING, attempts=delivery_operations.MAX_ATTEMPTS
    )
    assert is_refused(tenant.post(f"/api/v1/deliveries/{delivery.pk}/retry"), "Replay its event")


# --- People and their things -----------------------------------------------------------------------------------------


def test_members_have_a_limit_when_asked_and_when_they_come(
    tenant: Tenant, admin: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.follow("members/invite", email="a@example.com", role="member")
    link = re.search(r"/console/invitations/[^<\"]+", admin.page("members/"))
    set_limits(monkeypatch, members=1)
    assert "1 members. Remove one first" in errors(admin.post("members/invite", email="b@example.com", role="member"))
    guest = User.objects.create(username="guest")
    refused = browser_of(guest).post(link[0] if link else _invitation_path())
    assert refused.status_code == 409
    assert "1 members" in refused.content.decode()
    assert Membership.objects.count() == 1


def _invitation_path() -> str:
    from notifications.invitations import invitation_link  # noqa: PLC0415

    return re.sub(r"https?://[^/]+", "", invitation_link(Invitation.objects.get()))


def test_views_of_a_person_have_a_limit(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch, saved_views=1)
    member, colleague = (as_role(tenant.organization, Role.MEMBER) for _ in range(2))
    assert "Saved as" in member.follow("views/save", name="One", query="type=a")
    assert "You can save at most 1 views. Delete one first." in member.follow("views/save", name="Two", query="")
    assert "Saved as" in member.follow("views/save", name="One", query="type=b")
    assert "Saved as" in colleague.follow("views/save", name="Two", query="")
    assert SavedView.objects.count() == 2


def test_exports_of_a_day_have_a_limit(admin: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch, exports_per_day=1)
    finish(begin(admin))
    answer = admin.post("exports/new", query="", format="csv")
    assert answer.status_code == 409
    assert "1 exports a day" in answer.content.decode()


def test_files_of_exports_have_room_for_each_and_for_all(
    tenant: Tenant, admin: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(tenant, "a")
    export = finish(begin(admin))
    assert usage_of(tenant)["export_bytes"] == export.stored_size > 0
    set_limits(monkeypatch, export_bytes=export.stored_size)
    assert "Delete one that is not needed" in admin.post("exports/new", query="", format="csv").content.decode()
    assert "Delete this file?" in admin.page(f"exports/{export.pk}/cancel")
    assert "The file was deleted" in admin.follow(f"exports/{export.pk}/cancel")
    assert not ExportPart.objects.exists()
    assert AuditEntry.objects.filter(action="export.deleted").exists()
    other = as_role(make_organization(), Role.ADMIN)
    finish(begin(admin))
    monkeypatch.setattr(export_limits, "_GIB", 1)
    refused = other.post("exports/new", query="", format="csv")
    assert refused.status_code == 503
    assert "fill their space" in refused.content.decode()


def test_an_export_ends_where_its_room_does(tenant: Tenant, admin: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    send(tenant, "a", "b", "c")
    monkeypatch.setattr("console.exports.jobs.PART_BYTES", 1)
    export = begin(admin)
    set_limits(monkeypatch, export_bytes=1)
    finish(export)
    assert (export.status, export.events, export.is_cut) == (ExportStatus.DONE, 1, True)
    assert Export.objects.get().parts == 1


# --- The audit log ---------------------------------------------------------------------------------------------------


def changes_by(organization: Organization, *kinds: str) -> int:
    return AuditEntry.objects.for_organization(organization.pk).filter(actor_kind__in=kinds).count()


def test_keys_can_change_so_much_in_an_hour_and_still_be_revoked(
    tenant: Tenant, admin: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_tenant()
    made = tenant.post("/api/v1/api-keys", KEY).json()["id"]
    set_limits(monkeypatch, changes_per_hour=changes_by(tenant.organization, "api_key", "portal") + 1)
    assert tenant.post("/api/v1/subscriptions", HOOK).status_code == 201
    refused = tenant.post("/api/v1/subscriptions", HOOK)
    assert (refused.status_code, refused.json()["code"], refused["Retry-After"]) == (429, "rate_limited", "60")
    assert (
        Subscription.objects.for_organization(tenant.organization.pk).filter(kind=SubscriptionKind.WEBHOOK).count() == 1
    )
    assert tenant.request("DELETE", f"/api/v1/api-keys/{made}").status_code == 204
    assert "was created" in admin.follow("keys/issue", name="x", scopes="events:read")
    assert other.post("/api/v1/subscriptions", HOOK).status_code == 201
    with time_machine.travel(timezone.now() + timedelta(hours=1)):
        assert tenant.post("/api/v1/subscriptions", HOOK).status_code == 201


def test_people_can_change_so_much_in_an_hour_and_still_end_it(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by saving a form again and again that changes nothing."""
    owner = as_role(tenant.organization, Role.OWNER)
    member = make_member(tenant.organization, Role.MEMBER)
    set_limits(monkeypatch, changes_per_hour=changes_by(tenant.organization, "user") + 1)
    monkeypatch.setattr("notifications.slack.check_destination", guard.check_url)
    assert owner.post("notices/", url="https://example.com/first").status_code == 302
    refused = owner.post("notices/", url="https://example.com/second")
    assert "People can make" in refused.content.decode()
    assert decrypt_secret(SlackChannel.objects.get().url) == "https://example.com/first"
    # Nobody else is held up, and what lets the flood in can be taken away.
    assert tenant.post("/api/v1/subscriptions", HOOK).status_code == 201
    membership = Membership.objects.get(organization=tenant.organization, user=member)
    remove_member(membership=membership, actor=Actor(kind=ActorKind.USER, label="owner"))
    helper = site_of(tenant.organization, UserFactory.create(is_staff=True, is_superuser=True))
    assert helper.post("notices/", url="https://example.com/third").status_code == 302
    with time_machine.travel(timezone.now() + timedelta(hours=1)):
        assert owner.post("notices/", url="https://example.com/second").status_code == 302


# --- The member who is not there any more ----------------------------------------------------------------------------


def test_a_full_organization_lets_nobody_lose_what_there_is(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lower limit, as of another plan, refuses what is new and takes nothing away."""
    default_inboxes([tenant.organization.pk])
    hook = tenant.post("/api/v1/subscriptions", HOOK).json()["id"]
    send(tenant, "a")
    set_limits(monkeypatch, subscriptions=1, event_types=0, api_keys=0, members=0)
    make_member(tenant.organization)
    assert tenant.request("PATCH", f"/api/v1/subscriptions/{hook}", {"description": "x"}).status_code == 200
    send(tenant, "a")
    assert EventType.objects.get().count == 2
    assert usage_of(tenant)["subscriptions"] == 2
