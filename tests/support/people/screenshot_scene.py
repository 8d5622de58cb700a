"""What the pictures show: a seeded month of one organization, and one of everything else that has a page."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from io import StringIO

from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from console.events.filters import EventFilters
from console.exports.jobs import create_export, run_exports
from console.models import ExportFormat, SavedView
from core.ports import SyncRedis, run_now
from delivery.models import DeadLetterRetry, Delivery, Replay, Subscription, SubscriptionKind, SubscriptionStatus
from ingestion.intake.rejections import record_rejections
from ingestion.models import EventType, ProcessingFailure
from ingestion.operations import process_outbox
from lifecycle.models import Erasure, ErasureKind
from organizations.audit import Actor
from organizations.jobs.models import JobStatus
from organizations.keys.scopes import Scope
from organizations.models import ApiKey, Membership, Organization, Role
from organizations.operations import invite_member, issue_key
from tests.conftest import Tenant
from tests.factories import inbox_of, make_organization
from tests.support.people.every_page import PASSWORD
from tests.support.people.portal_visits import make_link
from tests.support.people.screenshot_outage import make_dead_letter, make_traces

NAMES = ("Harbour Books", "Northwind Cycles", "Alpine Parcels", "Tidewater Energy")
INVOICE = {
    "number": "2026-1187",
    "amount": 12900,
    "currency": "EUR",
    "paid": True,
    "customer": {"id": "cus_42", "country": "AT", "vat_id": "ATU00000000"},
    "lines": [{"sku": "A-17", "count": 2, "price": 4950}, {"sku": "B-02", "count": 1, "price": 3000}],
    "note": None,
}
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
ACTOR = Actor(kind="user", label="operator", address="192.0.2.10", user_agent=AGENT)
SCHEMA = {
    "type": "object",
    "required": ["amount", "currency"],
    "properties": {"amount": {"type": "integer", "minimum": 0}, "currency": {"enum": ["EUR", "CHF"]}},
}


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Signed in as `operator`, a superuser and owner. `event_id` was given up, after five attempts."""

    organization: Organization
    empty: Organization
    operator: User
    webhook: Subscription
    event_id: str
    dead: Delivery
    replay: Replay
    retry: DeadLetterRetry
    portal_link: str
    export_id: str
    key: ApiKey
    spare_key: str
    event_type: EventType

    @property
    def home(self) -> str:
        return f"/console/o/{self.organization.slug}/"

    @property
    def empty_home(self) -> str:
        return f"/console/o/{self.empty.slug}/"


def make_gallery() -> Gallery:
    """About ten seconds' work."""
    call_command("seed", events=60_000, tenants=len(NAMES), stdout=StringIO())
    organization, now = _name_tenants(), timezone.now()
    operator = User.objects.create_superuser("operator", "operator@example.com", PASSWORD)
    operator.refresh_from_db()
    Membership.objects.create(organization=organization, user=operator, role=Role.OWNER)
    for username, role in (("billing-team", Role.ADMIN), ("shop-team", Role.MEMBER), ("auditor", Role.VIEWER)):
        user = User.objects.create_user(username, f"{username}@example.com", PASSWORD)
        Membership.objects.create(organization=organization, user=user, role=role)
    key, spare_key = _make_keys(organization, now)
    webhook = _name_webhook(organization, now)
    _send_events(organization, spare_key)
    dead = make_dead_letter(webhook, INVOICE, now)
    event_type = EventType.objects.get(organization=organization, name="invoice.paid")
    EventType.objects.filter(pk=event_type.pk).update(
        description="An invoice was paid in full.", schema=SCHEMA, validation="warn"
    )
    _make_erasures(organization)
    invite_member(organization=organization, email="warehouse@example.com", role="member", invited_by=operator,
                  actor=ACTOR, now=now)  # fmt: skip
    SavedView.objects.create(organization=organization, owner=operator, name="Paid invoices", query="type=invoice.paid")
    _age(organization, now)
    return Gallery(
        organization=organization,
        empty=make_organization(name="New Venture", slug="new-venture"),
        operator=operator,
        webhook=webhook,
        event_id=str(dead.event_id),
        dead=dead,
        replay=_make_replays(webhook, now),
        retry=make_traces(dead, now),
        portal_link=make_link(Tenant(organization, key, spare_key, Client())),
        export_id=_make_exports(organization, operator, now),
        key=key,
        spare_key=spare_key,
        event_type=event_type,
    )


def _name_tenants() -> Organization:
    for number, name in enumerate(NAMES):
        slug = name.lower().replace(" ", "-")
        organization = Organization.objects.get(name=f"Seeded {number}")
        Organization.objects.filter(pk=organization.pk).update(name=name, slug=slug, retention_days_override=None)
        Subscription.objects.filter(organization=organization, kind=SubscriptionKind.WEBHOOK).update(
            name="Billing", url=f"https://hooks.{slug}.example/billing", status=SubscriptionStatus.ACTIVE
        )
    return Organization.objects.get(name=NAMES[0])


def _make_keys(organization: Organization, now: datetime) -> tuple[ApiKey, str]:
    issue_key(organization=organization, name="Old shop", scopes=[Scope.EVENTS_WRITE], actor=ACTOR,
              expires_at=now + timedelta(days=5))  # fmt: skip
    key = issue_key(
        organization=organization, name="Shop", scopes=[Scope.EVENTS_WRITE, Scope.EVENTS_READ], actor=ACTOR
    ).key
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=now - timedelta(minutes=1))
    return key, issue_key(organization=organization, name="Billing", scopes=list(Scope), actor=ACTOR).plaintext


def _name_webhook(organization: Organization, now: datetime) -> Subscription:
    webhook = Subscription.objects.get(organization=organization, kind=SubscriptionKind.WEBHOOK)
    Subscription.objects.filter(pk=webhook.pk).update(
        description="Tells the ledger what was paid.", failing_since=now - timedelta(hours=3), failures=4,
        last_error="http_error", last_attempt_at=now - timedelta(minutes=4),
    )  # fmt: skip
    Subscription.objects.create(organization=organization, kind=SubscriptionKind.WEBHOOK, name="Warehouse",
                                url="https://warehouse.example/events", event_types=["order.*"])  # fmt: skip
    webhook.refresh_from_db()
    return webhook


def _send_events(organization: Organization, plaintext: str) -> None:
    key = ApiKey.objects.get(organization=organization, name="Billing")
    tenant = Tenant(organization, key, plaintext, Client())
    inbox_of(organization)
    for number, kind in enumerate(("order.created", "user.signed_up", "order.shipped", "payment.captured")):
        body = {"type": kind, "source": "/shop", "subject": f"ord_{990 + number}", "data": {"number": 990 + number}}
        tenant.post("/api/v1/events", body)
    tenant.post("/api/v1/events", {"type": "no type!", "data": 1})
    tenant.post("/api/v1/events", b"{")
    run_now(record_rejections(SyncRedis()))
    process_outbox()


def _make_replays(webhook: Subscription, now: datetime) -> Replay:
    kept = {"organization_id": webhook.organization_id, "subscription": webhook, "event_types": ["invoice.*"]}
    day = timedelta(days=1)
    Replay.objects.create(**kept, received_after=now - 9 * day, received_before=now - 8 * day, total=421, looked_at=421,
                          created=421, status=JobStatus.DONE)  # fmt: skip
    return Replay.objects.create(**kept, received_after=now - 2 * day, received_before=now - day, total=1200,
                                 looked_at=410, created=404, only_undelivered=True)  # fmt: skip


def _make_exports(organization: Organization, user: User, now: datetime) -> str:
    wanted = EventFilters(type="invoice.paid", source="/billing", time_from=now - timedelta(days=2))
    made = create_export(organization=organization, user=user, wanted=wanted, kind=ExportFormat.CSV, actor=ACTOR,
                         now=now)  # fmt: skip
    run_exports(seconds=20)
    return str(made.pk)


def _age(organization: Organization, now: datetime) -> None:
    """Nobody looks at what was made a second ago, and few events cannot be processed."""
    failures = ProcessingFailure.objects.filter(organization=organization)
    failures.exclude(pk__in=failures.order_by("-failed_at").values_list("pk")[:3]).delete()
    for days, rows in enumerate((Subscription.objects, Membership.objects, ApiKey.objects), start=40):
        rows.filter(organization=organization).update(created_at=now - timedelta(days=days))


def _make_erasures(organization: Organization) -> None:
    Erasure.objects.create(
        kind=ErasureKind.EVENTS, organization_id=organization.pk, status=JobStatus.DONE, looked_at=14_210,
        removed={"events": 12, "deliveries": 24, "attempts": 13}, actor_kind="user", actor_label="operator",
        finished_at=timezone.now(),
    )  # fmt: skip
