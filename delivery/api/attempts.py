"""The attempts of deliveries as the API shows them: those with a row, and a first one that is kept in its delivery."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import Case, TextField, When
from django.db.models.functions import Left

from core.postgresql.portions import running_octets
from core.times import format_time
from delivery.api.delivery_schemas import AttemptShown, TestResult, TimingsShown
from delivery.attempts.exchange import Timings
from delivery.attempts.records import AttemptRecord, unpack
from delivery.models import Attempt, Delivery
from delivery.webhooks.test_send import TestOutcome
from organizations.models import TenantQuerySet

# A schedule has some ten attempts; more come from retries by hand.
MAX_ATTEMPTS = 100
# Of an event that very many subscriptions want, an answer shows no more than this; the rest is in their own lists.
MAX_ATTEMPTS_OF_EVENT = 1_000
EXCERPT_LENGTH = 500
# Bytes. Some 12 attempts of the longest responses, which is more than any schedule has; each is shown twice.
MAX_RESPONSES = 256 * 1024


def attempts_of(delivery: Delivery) -> list[AttemptShown]:
    """The latest MAX_ATTEMPTS, oldest first."""
    rows = Attempt.objects.for_organization(delivery.organization_id).filter(delivery_id=delivery.pk)
    newest = list(_with_responses(rows).order_by("delivery_id", "-id")[:MAX_ATTEMPTS])
    return describe_attempts(delivery, newest, first_response=delivery.first_response or "")


def _with_responses(attempts: TenantQuerySet[Attempt]) -> TenantQuerySet[Any]:
    """The responses of the newest ones as they are, up to MAX_RESPONSES together; of the others only the beginning."""
    begin = Left("response", EXCERPT_LENGTH)
    shown = Case(When(_total__lte=MAX_RESPONSES, then="response"), default=begin, output_field=TextField())
    return attempts.alias(_total=running_octets("response")).annotate(excerpt=shown).defer("response")


def excerpts_of(organization_id: UUID, delivery_ids: Sequence[UUID]) -> dict[UUID, list[Attempt]]:
    """The rows by delivery, newest first, with the beginning of their responses; MAX_ATTEMPTS_OF_EVENT in all."""
    rows = Attempt.objects.for_organization(organization_id).filter(delivery_id__in=delivery_ids)
    excerpts = rows.annotate(excerpt=Left("response", EXCERPT_LENGTH)).defer("response")
    found: defaultdict[UUID, list[Attempt]] = defaultdict(list)
    for attempt in excerpts.order_by("delivery_id", "-id")[:MAX_ATTEMPTS_OF_EVENT]:
        found[attempt.delivery_id].append(attempt)
    return found


def describe_attempts(delivery: Delivery, newest_first: Iterable[Any], *, first_response: str) -> list[AttemptShown]:
    """Oldest first, MAX_ATTEMPTS at most. What is shown of the response of a row is its `excerpt`."""
    shown = [
        _shown(
            attempt.record and unpack(attempt.record, event_id=delivery.event_id),
            number=attempt.number,
            started_at=attempt.started_at,
            duration_ms=attempt.duration_ms,
            status=attempt.status_code,
            error=attempt.error,
            response=attempt.excerpt,
        )
        for attempt in newest_first
    ]
    if delivery.first_attempt is not None:
        first = unpack(delivery.first_attempt, event_id=delivery.event_id)
        shown.append(
            _shown(
                first,
                number=1,
                started_at=first.started_at,
                duration_ms=delivery.first_duration_ms or 0,
                status=first.status,
                error="",
                response=first_response,
            )
        )
    return shown[MAX_ATTEMPTS - 1 :: -1]


def describe_test(outcome: TestOutcome) -> TestResult:
    """A test of a webhook, as an attempt is shown."""
    result = outcome.result
    return TestResult(
        event_id=outcome.event_id,
        delivered=result.delivered,
        url=result.url,
        started_at=format_time(outcome.started_at),
        duration_ms=result.duration_ms,
        timings=_timings(result.timings, result.duration_ms),
        remote_address=result.remote_address,
        request_headers=dict(result.request_headers),
        request_body=outcome.body.decode(),
        status_code=result.status,
        response_headers=dict(result.response_headers),
        response_body=result.response_text,
        error=result.error and result.error.value,
        error_detail=result.detail if result.error else None,
        detail=result.detail,
        response=result.response_text,
    )


def _timings(timings: Timings, duration_ms: int) -> TimingsShown:
    return TimingsShown(**msgspec.structs.asdict(timings), total_ms=duration_ms)


def _shown(
    record: AttemptRecord | None,
    *,
    number: int,
    started_at: datetime,
    duration_ms: int,
    status: int | None,
    error: str,
    response: str,
) -> AttemptShown:
    return AttemptShown(
        number=number,
        url=record.url if record else None,
        started_at=format_time(started_at),
        duration_ms=duration_ms,
        timings=_timings(record.timings, duration_ms) if record else None,
        remote_address=record.remote_address if record else None,
        request_headers=dict(record.request_headers) if record else None,
        status_code=status,
        response_headers=dict(record.response_headers) if record else None,
        response_body=response,
        error=error or None,
        error_detail=record.detail if record and error else None,
        response=response,
    )
