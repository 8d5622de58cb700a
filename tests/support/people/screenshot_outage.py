"""What an outage leaves behind: an event that did not arrive, counts for the charts, issues, a retry and a portal."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from uuid_utils.compat import uuid7

from core.secrets import encrypt_secret
from delivery.attempts.exchange import Timings
from delivery.attempts.headers import shown_request_headers
from delivery.attempts.records import AttemptRecord, pack
from delivery.models import Attempt, DeadLetterRetry, Delivery, DeliveryStatus, RetryOutcomes, Subscription
from delivery.outcome_counts.buckets import bucket_of
from delivery.outcome_counts.models import CountStep, OutcomeCount
from delivery.webhooks.signing import generate_secret, secret_key
from delivery.webhooks.webhook_requests import build_request
from ingestion.models import Event
from portal.models import PortalAppearance
from tests.factories import make_delivery, make_events
from tests.support.people.console_data import make_issue, make_retry
from tests.support.people.portal_visits import TAG

# Seconds after the event, status code, error and answer.
_ATTEMPTS = (
    (1, 503, "http_error", "Service Unavailable"), (6, 503, "http_error", "Service Unavailable"),
    (320, None, "timeout", ""), (2_200, 503, "http_error", "down for maintenance"),
    (9_900, 503, "http_error", "down for maintenance"),
)  # fmt: skip


def make_dead_letter(webhook: Subscription, data: object, now: datetime) -> Delivery:
    """Given up after five attempts, of which everything is known."""
    Subscription.objects.filter(pk=webhook.pk).update(secret=encrypt_secret(generate_secret()), tags=[TAG])
    webhook.refresh_from_db()
    [event] = make_events(webhook.organization, 1, now - timedelta(hours=3), data=data, source="/billing",
                          subject="inv_1187", idempotency_key="inv_1187-paid")  # fmt: skip
    dead = make_delivery(event, webhook, DeliveryStatus.DEAD_LETTER, last_error="http_error", attempts=len(_ATTEMPTS))
    for number, attempt in enumerate(_ATTEMPTS, start=1):
        _make_attempt(event, dead, number, attempt)
    return dead


def _make_attempt(event: Event, dead: Delivery, number: int, attempt: Sequence[Any]) -> None:
    seconds, code, error, response = attempt
    webhook, at = dead.subscription, event.received_at + timedelta(seconds=seconds)
    request = build_request(url=webhook.url, secrets=[secret_key(generate_secret())], headers={}, event_id=event.pk,
                            event_type=event.type, received_at=event.received_at, data=event.data, now=at)  # fmt: skip
    record = AttemptRecord(
        started_at=at, status=code, url=webhook.url, remote_address="192.0.2.44",
        timings=Timings(4, 11, 18, 52 if code else 14_967),
        request_headers=shown_request_headers(request.url, request.headers, length=len(request.body)),
        response_headers={"Server": "nginx", "Retry-After": "120"} if code else {},
        detail=f"The endpoint answered {code}." if code else "No answer came within 15 seconds.",
    )  # fmt: skip
    Attempt.objects.create(
        id=uuid7(), organization_id=event.organization_id, subscription_id=webhook.pk, delivery_id=dead.pk,
        number=number, started_at=at, duration_ms=15_000 if code is None else 90, status_code=code, error=error,
        response=response, record=pack(record, event_id=event.pk),
    )  # fmt: skip


def make_traces(dead: Delivery, now: datetime) -> DeadLetterRetry:
    """Charts of a day that ended badly, the issues, the organization's portal, and a retry that runs."""
    _make_counts(dead.subscription, now)
    make_issue(dead, count=412, note="They move to another host until noon.")
    make_issue(dead, error="timeout", status_code=0, count=37, reopened=1)
    PortalAppearance.objects.create(organization=dead.organization, name="Harbour Books", accent="#8a1c5b",
                                    accent_dark="#f0a6cf")  # fmt: skip
    retry = make_retry(dead.subscription)
    DeadLetterRetry.objects.filter(pk=retry.pk).update(total=412, done=230)
    RetryOutcomes.objects.filter(retry=retry).update(delivered=204, failed_again=3)
    return retry


def _make_counts(webhook: Subscription, now: datetime) -> None:
    hour = now.replace(minute=0, second=0, microsecond=0)
    counts = [
        OutcomeCount(
            organization_id=webhook.organization_id, subscription_id=webhook.pk, step=CountStep.HOUR,
            start=hour - timedelta(hours=back), outcome=outcome, bucket=bucket_of(milliseconds), count=count,
        )
        for back in range(24)
        for outcome, milliseconds, count in (
            ("delivered", 60 + back % 5 * 9, 40 if back < 3 else 300 + back % 7 * 40),
            ("delivered", 240 + back % 3 * 60, 20),
            ("http_error", 70, 120 - back * 30 if back < 3 else 0),
            ("timeout", 15_000, 12 if back < 3 else 0),
        )
        if count
    ]  # fmt: skip
    OutcomeCount.objects.bulk_create(counts, ignore_conflicts=True)
