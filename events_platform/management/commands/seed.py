"""Fill an empty platform with a month of made-up history, to try pages and queries on a large data set."""

import hashlib
import random
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction
from django.utils import timezone

from delivery.models import Kind, Subscription
from delivery.operations import default_inboxes
from delivery.secrets import encrypt_secret
from delivery.signing import generate_secret
from events_platform.progress import Progress, progress_bar
from ingestion.models import EventType, HourlyStat, IntakeCount
from ingestion.partitions import WEEK, make_partitions
from organizations.models import Organization
from organizations.plans import Plan

DAYS = 30
PORTION = 20_000
_TYPES = [
    "invoice.paid", "invoice.sent", "invoice.overdue", "order.created", "order.paid", "order.shipped", "order.returned",
    "user.signed_up", "user.verified", "user.deleted", "push.received", "build.finished", "build.failed",
    "sensor.reading", "payment.captured", "payment.refunded",
]  # fmt: skip
_EVENTS = """
COPY ingestion_event (id, organization_id, type, source, subject, data, received_at, batch_id) FROM STDIN
"""
_DELIVERIES = """
COPY delivery_delivery (id, organization_id, subscription_id, event_id, status, created_at, delivered_at,
    next_attempt_at, attempts, last_error) FROM STDIN
"""
_ATTEMPTS = """
COPY delivery_attempt (id, organization_id, subscription_id, delivery_id, number, started_at, duration_ms, status_code,
    error, response) FROM STDIN
"""


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """`organization`, `inbox`, `webhook`: hexadecimal ids."""

    organization: str
    inbox: str
    webhook: str


class Command(BaseCommand):
    help = "Add organizations with a month of events, deliveries and attempts. For trials; not for a platform in use."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--events", type=int, default=100_000, help="how many events (default 100 000)")
        parser.add_argument("--tenants", type=int, default=200, help="how many organizations (default 200)")
        parser.add_argument("--random-seed", type=int, default=1, help="the same number makes the same data")

    def handle(self, *_args: Any, events: int, tenants: int, random_seed: int, **_options: Any) -> None:
        if events < 1 or tenants < 1:
            raise CommandError("--events and --tenants must be 1 or more.")
        started = time.monotonic()
        chance = random.Random(random_seed)  # noqa: S311 - made-up data
        now = timezone.now()
        for week in range(DAYS // 7 + 1):
            make_partitions(now=now - WEEK * week)
        with progress_bar("Seeded", events) as progress:
            History(_make_tenants(tenants), chance, now, events).write(progress)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        self.stdout.write(f"{events} events of {tenants} organizations in {time.monotonic() - started:.0f} s")


def _make_tenants(count: int) -> list[Tenant]:
    prefix = f"seed-{int(time.time())}"
    organizations = Organization.objects.bulk_create(
        [
            Organization(name=f"Seeded {number}", slug=f"{prefix}-{number}", plan=list(Plan)[number % len(Plan)])
            for number in range(count)
        ]
    )
    inboxes = default_inboxes([organization.pk for organization in organizations])
    webhooks = Subscription.objects.bulk_create(
        [
            Subscription(
                organization=organization,
                kind=Kind.WEBHOOK,
                url=f"https://hooks.example.com/{organization.slug}",
                secret=encrypt_secret(generate_secret()),
                headers={},
                event_types=["invoice.*", "order.*"],
                status="paused",  # nothing of this is to be sent
                max_leases=20,
                failures=0,
            )
            for organization in organizations
        ]
    )
    return [
        Tenant(organization=organization.pk.hex, inbox=inboxes[organization.pk].hex, webhook=webhook.pk.hex)
        for organization, webhook in zip(organizations, webhooks, strict=True)
    ]


class History:
    """Made-up events in the order of their times, the n-th tenant with 1/n of what the first one has."""

    def __init__(self, tenants: list[Tenant], chance: random.Random, now: datetime, events: int) -> None:
        self._tenants = tenants
        self._weights = list(accumulate(1 / (number + 1) for number in range(len(tenants))))
        self._chance = chance
        self._events = events
        self._start = now - timedelta(days=DAYS)
        self._step = timedelta(days=DAYS) / events
        self._hours: Counter[tuple[str, str, datetime]] = Counter()

    def write(self, progress: Progress) -> None:
        for first in range(0, self._events, PORTION):
            numbers = range(first, min(first + PORTION, self._events))
            self._write_portion(numbers)
            progress.show(numbers.stop)
        self._write_statistics()

    @transaction.atomic
    def _write_portion(self, numbers: range) -> None:
        tenants = self._chance.choices(self._tenants, cum_weights=self._weights, k=len(numbers))
        events: list[str] = []
        deliveries: list[str] = []
        attempts: list[str] = []
        for number, tenant in zip(numbers, tenants, strict=True):
            moment = self._start + self._step * number
            kind = self._chance.choice(_TYPES)
            event_id = self._id(moment)
            self._hours[tenant.organization, kind, moment.replace(minute=0, second=0, microsecond=0)] += 1
            events.append(_event_line(event_id, tenant, kind, number, moment))
            deliveries.append(_delivery_line(event_id, tenant.organization, tenant.inbox, moment, ""))
            if kind.startswith(("invoice", "order")):
                error = "http_error" if self._chance.random() < 0.01 else ""
                deliveries.append(_delivery_line(event_id, tenant.organization, tenant.webhook, moment, error))
                attempts.append(self._attempt_line(event_id, tenant, moment, error))
        _copy(_EVENTS, events)
        _copy(_DELIVERIES, deliveries)
        _copy(_ATTEMPTS, attempts)

    def _id(self, moment: datetime) -> str:
        """A UUIDv7 of that time, in hexadecimal."""
        random_bits = self._chance.getrandbits(74)
        low = 0x8 << 60 | random_bits & (1 << 62) - 1
        return f"{int(moment.timestamp() * 1000):012x}7{random_bits >> 62:03x}{low:016x}"

    def _attempt_line(self, event_id: str, tenant: Tenant, moment: datetime, error: str) -> str:
        code, answer = (500, "Internal Server Error") if error else (200, "ok")
        values = (
            self._id(moment), tenant.organization, tenant.webhook, _delivery_id(event_id, tenant.webhook), "1",
            moment.isoformat(), str(self._chance.randrange(5, 400)), str(code), error, answer,
        )  # fmt: skip
        return "\t".join(values)

    def _write_statistics(self) -> None:
        """What processing and the servers would have counted."""
        stats = [
            HourlyStat(organization_id=UUID(organization), type=kind, hour=hour, count=count)
            for (organization, kind, hour), count in self._hours.items()
        ]
        HourlyStat.objects.bulk_create(stats, batch_size=5_000)
        per_hour: Counter[tuple[UUID, datetime]] = Counter()
        per_type: dict[tuple[UUID, str], list[HourlyStat]] = {}
        for stat in stats:
            per_hour[stat.organization_id, stat.hour] += stat.count
            per_type.setdefault((stat.organization_id, stat.type), []).append(stat)
        EventType.objects.bulk_create([_event_type(key, rows) for key, rows in per_type.items()], batch_size=5_000)
        IntakeCount.objects.bulk_create(_intake_counts(per_hour), batch_size=5_000)


def _event_type(key: tuple[UUID, str], rows: list[HourlyStat]) -> EventType:
    return EventType(
        organization_id=key[0],
        name=key[1],
        first_seen_at=min(row.hour for row in rows),
        last_seen_at=max(row.hour for row in rows),
        count=sum(row.count for row in rows),
        description="",
        validation="off",
    )


def _intake_counts(per_hour: Counter[tuple[UUID, datetime]]) -> Iterator[IntakeCount]:
    for (organization_id, hour), count in per_hour.items():
        outcomes = {"accepted": count, "duplicate": count // 50, "validation_failed": count // 100}
        for outcome, number in outcomes.items():
            if number:
                yield IntakeCount(organization_id=organization_id, minute=hour, outcome=outcome, count=number)


def _event_line(event_id: str, tenant: Tenant, kind: str, number: int, moment: datetime) -> str:
    data = f'{{"number": {number}, "amount": {number * 7 % 100_000}, "customer": {{"id": "cus_{number % 9973}"}}}}'
    subject = f"s-{number % 100_003}"
    batch = UUID(int=0).hex
    return "\t".join((event_id, tenant.organization, kind, "/seed", subject, data, moment.isoformat(), batch))


def _delivery_line(event_id: str, organization: str, subscription: str, moment: datetime, error: str) -> str:
    """A dead letter if there is an error, otherwise delivered."""
    at = moment.isoformat()
    status, delivered_at = ("dead_letter", "\\N") if error else ("delivered", at)
    identifier = _delivery_id(event_id, subscription)
    values = (identifier, organization, subscription, event_id, status, at, delivered_at, "\\N", "1", error)
    return "\t".join(values)


def _delivery_id(event_id: str, subscription: str) -> str:
    """As delivery.delivery_ids makes it, without the detour over objects."""
    digest = hashlib.blake2b(bytes.fromhex(event_id + subscription), digest_size=8).digest()
    return f"{event_id[:16]}{0x80 | (digest[0] & 0x3F):02x}{digest[1:].hex()}"


def _copy(statement: str, lines: list[str]) -> None:
    if lines:
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write("\n".join(lines) + "\n")
