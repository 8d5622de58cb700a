"""What an organization has behind it that `seed` does not make: counts, issues, rejections, an audit log."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone
from uuid_utils.compat import uuid7

from core.event_ids import lowest_id
from core.ports import SyncRedis, run_now
from core.problems import Problem
from delivery.models import Delivery, Issue, OutcomeCount, QueueSample, Subscription
from delivery.outcome_counts.buckets import bucket_of
from delivery.outcome_counts.models import CountStep
from ingestion.intake.rejections import KEPT, note_rejection, record_rejections
from organizations.models import AuditEntry, Organization

# How long each step's counts are kept.
_KEPT = {CountStep.MINUTE: timedelta(hours=2), CountStep.HOUR: timedelta(days=30)}
_OUTCOMES = ("delivered", "http_error", "timeout")
_MILLISECONDS = (8, 12, 20, 35, 60, 110, 400, 15_000)
# More than a page of the audit log looks at, and than one of issues lists.
_AUDIT_ENTRIES = 6_000
_ISSUES = 120
_ACTIONS = ("subscription.updated", "api_key.issued", "member.role_changed", "event_type.updated", "export.created")
# Of a UUIDv7, what follows its time.
_BELOW_TIME = (1 << 80) - 1
_BODY = b'{"type": "invoice.paid", "data": {"customer": {"id": "cus_42"}}, "note": "not a member of the envelope"}'


def make_past(organization: Organization, webhook: Subscription, dead: Delivery) -> None:
    """Once; but for the rejections, which are forgotten after an hour."""
    now = timezone.now()
    if not OutcomeCount.objects.filter(subscription_id=webhook.pk).exists():
        OutcomeCount.objects.bulk_create(_counts(webhook, now), batch_size=5_000)
        QueueSample.objects.bulk_create(_samples(webhook, now), batch_size=5_000)
        Issue.objects.bulk_create(_issues(webhook, dead, now))
        AuditEntry.objects.bulk_create(_entries(organization, webhook, now), batch_size=5_000)
    _reject(organization)


def _starts(now: datetime) -> Iterator[tuple[CountStep, datetime]]:
    for step, kept in _KEPT.items():
        last = int(now.timestamp()) // step * step
        for back in range(int(kept.total_seconds()) // step):
            yield step, datetime.fromtimestamp(last - back * step, tz=now.tzinfo)


def _counts(webhook: Subscription, now: datetime) -> Iterator[OutcomeCount]:
    for step, start in _starts(now):
        for outcome in _OUTCOMES:
            for place, milliseconds in enumerate(_MILLISECONDS):
                yield OutcomeCount(
                    organization_id=webhook.organization_id, subscription_id=webhook.pk, step=step, start=start,
                    outcome=outcome, bucket=bucket_of(milliseconds), count=1 + place * step,
                )  # fmt: skip


def _samples(webhook: Subscription, now: datetime) -> Iterator[QueueSample]:
    for step, start in _starts(now):
        yield QueueSample(
            organization_id=webhook.organization_id, subscription_id=webhook.pk, step=step, start=start,
            waiting=start.minute + start.hour, oldest_seconds=start.hour,
        )  # fmt: skip


def _issues(webhook: Subscription, dead: Delivery, now: datetime) -> Iterator[Issue]:
    for number in range(_ISSUES):
        seen = now - timedelta(minutes=number)
        yield Issue(
            id=uuid7(), organization_id=webhook.organization_id, subscription=webhook, error="http_error",
            status_code=400 + number, first_seen_at=seen, opened_at=seen, last_seen_at=seen, last_delivery_id=dead.pk,
            count=1_000,
        )  # fmt: skip


def _entries(organization: Organization, webhook: Subscription, now: datetime) -> Iterator[AuditEntry]:
    for number in range(_AUDIT_ENTRIES):
        action = _ACTIONS[number % len(_ACTIONS)]
        at = now - timedelta(hours=2, minutes=number)
        is_of_webhook = action.startswith("subscription.") and number % 100 == 0
        yield AuditEntry(
            id=UUID(int=lowest_id(at).int | uuid7().int & _BELOW_TIME), organization=organization, created_at=at,
            actor_kind="user", actor_label=f"bench-{number % 7}", action=action, target_kind=action.partition(".")[0],
            target_id=str(webhook.pk if is_of_webhook else UUID(int=number)), target_label=f"object {number}",
            changes={"name": ["before", "after"]},
        )  # fmt: skip


def _reject(organization: Organization) -> None:
    for number in range(KEPT):
        problem = Problem("validation_failed" if number % 2 else "payload_too_large", "The field is not known.")
        note_rejection(
            organization.pk, problem, request_id=str(uuid7()), key_prefix="evp_live_bench", type="invoice.paid",
            body=_BODY,
        )  # fmt: skip
    run_now(record_rejections(SyncRedis()))
