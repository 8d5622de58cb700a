"""Notices: events of the platform about an organization, sent to itself, and mailed to members who want them.

They go through the intake like every other event, so subscriptions and inboxes get them. Their idempotency keys,
`op:<kind>:<subject>:<hour>`, keep them to one an hour for each subject; a mail goes out once an hour for each kind.
"""

import logging
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from celery import current_app
from django.db import IntegrityError, transaction

from core.broker.wakeup import BROKER_ERRORS
from core.event_ids import lowest_id
from core.ports import SyncDatabase, run_now
from core.postgresql.lending import give_back
from core.times import format_time
from delivery.endpoints.certificate_ends import tell_ends
from delivery.listeners import DeadLetter, DisabledWebhook
from delivery.models import Subscription
from ingestion.formats.decoding import PLATFORM_SOURCE, DecodedEvent
from ingestion.intake.storing import Accepted, Incoming, store
from ingestion.models import Event, IdempotencyKey, IntakeCount, hour_of
from ingestion.wakeup import wake_processing
from notifications import slack
from notifications.mails import request_mails
from notifications.models import NoticeKind, SlackChannel
from notifications.preferences import readers_at_once
from organizations.models import Organization

logger = logging.getLogger(__name__)
RATE_LIMITED = "rate_limited"
# The servers write their counts every few seconds; a sweep that was late or lost is made up for.
_LOOK_BACK = timedelta(minutes=5)
_KEY_KEPT = timedelta(hours=24)
# What this process has asked for lately, and when: a thousand dead letters are not a thousand messages. One that was
# lost, or came to nothing, is asked for again after this long.
_ASKED_FOR_SECONDS = 60.0
_MOST_REMEMBERED = 10_000
_asked: dict[tuple[UUID, str], float] = {}


def announce(*, organization_id: UUID, kind: NoticeKind, subject: str, data: Mapping[str, Any], now: datetime) -> None:
    """Store the notice in the caller's transaction; what follows from it starts after the commit.

    `subject` is the id of what it is about. The same subject within an hour is told once. A dead letter of a notice
    is not told, or one would follow from another.
    """
    if kind == NoticeKind.DEAD_LETTER and data.get("event_type") in NoticeKind.values:
        return
    event = DecodedEvent(
        type=kind.value,
        data=msgspec.json.encode(data).decode(),
        source=PLATFORM_SOURCE,
        subject=subject,
        time=now,
        idempotency_key=_event_key(kind, subject, now),
    )
    (outcome,) = run_now(store(SyncDatabase(), [Incoming(organization_id, event)]))
    if isinstance(outcome, Accepted):
        if not outcome.duplicate:
            key = _mail_key(kind, now)
            mailed = IdempotencyKey.objects.filter(organization=organization_id, key=key).exists()
            transaction.on_commit(partial(_after_commit, None if mailed else outcome.id, (organization_id, key)))
    elif outcome.problem_type.code not in {"idempotency_key_reused", "event_erased"}:
        logger.error("the notice %s of organization %s was refused: %s", kind, organization_id, outcome)


def announce_dead_letter(letter: DeadLetter, *, now: datetime) -> None:
    """Tell the organization that a delivery was given up."""
    announce(
        organization_id=letter.organization_id,
        kind=NoticeKind.DEAD_LETTER,
        subject=str(letter.delivery_id),
        data={
            "delivery_id": str(letter.delivery_id),
            "subscription_id": str(letter.subscription_id),
            "event_id": str(letter.event_id),
            "event_type": letter.event_type,
            "attempts": letter.attempts,
            "last_error": letter.last_error,
            "error_detail": letter.error_detail,
        },
        now=now,
    )


def announce_disabled(webhook: DisabledWebhook, *, now: datetime) -> None:
    """Tell the organization that nothing is sent to an endpoint any more."""
    announce(
        organization_id=webhook.organization_id,
        kind=NoticeKind.SUBSCRIPTION_DISABLED,
        subject=str(webhook.subscription_id),
        data={
            "subscription_id": str(webhook.subscription_id),
            "url": webhook.url,
            "reason": webhook.reason,
            "last_error": webhook.last_error,
            "error_detail": webhook.error_detail,
        },
        now=now,
    )


def announce_certificate_ends(*, now: datetime) -> int:
    """Tell organizations, once each, of client certificates that end within 14 days; returns how many."""
    return tell_ends(partial(_announce_certificate_end, now=now), now=now)


def _announce_certificate_end(subscription: Subscription, *, now: datetime) -> None:
    assert subscription.auth_expires_at is not None  # noqa: S101 - as it was found by it
    announce(
        organization_id=subscription.organization_id,
        kind=NoticeKind.CERTIFICATE_ENDS,
        subject=str(subscription.pk),
        data={
            "subscription_id": str(subscription.pk),
            "subscription": subscription.label,
            "expires_at": format_time(subscription.auth_expires_at),
        },
        now=now,
    )


def announce_limits(*, now: datetime) -> int:
    """Tell organizations of events that their limit has refused in the last minutes; returns how many notices."""
    refused = IntakeCount.objects.filter(outcome=RATE_LIMITED, minute__gte=now - _LOOK_BACK)
    found: dict[tuple[UUID, datetime], list[IntakeCount]] = {}
    for row in refused.select_related("organization").order_by("organization", "minute"):
        found.setdefault((row.organization_id, hour_of(row.minute)), []).append(row)
    told = set(
        IdempotencyKey.objects.filter(
            organization__in={organization_id for organization_id, _ in found},
            key__in=[_event_key(NoticeKind.LIMIT_REACHED, str(pk), hour) for pk, hour in found],
        ).values_list("organization_id", "key")
    )
    news = [
        rows
        for (pk, hour), rows in found.items()
        if (pk, _event_key(NoticeKind.LIMIT_REACHED, str(pk), hour)) not in told
    ]
    for rows in news:
        _announce_limit(rows)
    return len(news)


@transaction.atomic
def mail_notice(*, event_id: UUID) -> bool:
    """Have a notice mailed to everybody who wants its kind at once, at most once an hour for each; returns whether.

    A suspended organization's wait: see mail_held().
    """
    event = Event.objects.filter(pk=event_id).select_related("organization").first()
    if event is None or event.type not in NoticeKind.values or event.organization.suspended_at is not None:
        return False
    kind = NoticeKind(event.type)
    readers = list(readers_at_once(event.organization_id, kind).values_list("pk", flat=True))
    if not readers or not _claim(event, _mail_key(kind, event.time or event.received_at)):
        return False
    request_mails("notice", [{"event_id": str(event_id), "user_id": user_id} for user_id in readers])
    return True


@transaction.atomic
def post_notice(*, event_id: UUID, now: datetime) -> bool:
    """Have a notice posted to the organization's Slack channel, at most once an hour for each kind; returns whether."""
    event = Event.objects.filter(pk=event_id).select_related("organization").first()
    if event is None or event.type not in NoticeKind.values or event.organization.suspended_at is not None:
        return False
    key = _mail_key(NoticeKind(event.type), event.time or event.received_at, "slack:")
    channels = SlackChannel.objects.for_organization(event.organization_id)
    if not channels.exists() or not _claim(event, key):
        return False
    slack.request_post(event, now=now)
    return True


def mail_held(organization: Organization) -> None:
    """Once it is resumed, mail of each kind the newest notice of the time in which it was suspended."""
    assert organization.suspended_at is not None  # noqa: S101 - as it was
    events = Event.objects.for_organization(organization.pk).filter(
        source=PLATFORM_SOURCE, pk__gte=lowest_id(organization.suspended_at)
    )
    for kind in NoticeKind:
        newest = events.filter(type=kind.value).order_by("-pk").values_list("pk", flat=True).first()
        if newest is not None:
            transaction.on_commit(partial(_request_mail, newest))


@transaction.atomic
def _announce_limit(rows: list[IntakeCount]) -> None:
    """`rows`: the minutes of one hour of one organization, in order."""
    organization, minute = rows[0].organization, rows[-1].minute
    announce(
        organization_id=organization.pk,
        kind=NoticeKind.LIMIT_REACHED,
        subject=str(organization.pk),
        data={
            "events_per_minute": organization.limits.events_per_minute,
            "refused_requests": sum(row.count for row in rows),
            "since": format_time(rows[0].minute),
        },
        now=minute,
    )


def _after_commit(mailed_id: UUID | None, about: tuple[UUID, str]) -> None:
    wake_processing()
    if mailed_id is not None and not _asked_lately(about):
        _request_mail(mailed_id)


def _asked_lately(about: tuple[UUID, str]) -> bool:
    """If not, it is from now on."""
    now = time.monotonic()
    if now - _asked.get(about, -_ASKED_FOR_SECONDS) < _ASKED_FOR_SECONDS:
        return True
    if len(_asked) >= _MOST_REMEMBERED:
        _asked.clear()
    _asked[about] = now
    return False


def _request_mail(event_id: UUID) -> None:
    _send_task("delivery.mail_notice", event_id=str(event_id))
    channels = Event.objects.filter(pk=event_id, organization__in=SlackChannel.objects.values("organization"))
    if channels.exists():
        _send_task("notifications.post_notice", event_id=str(event_id))


def _send_task(name: str, **about: str) -> None:
    # A broker that hangs takes seconds.
    give_back()
    try:
        current_app.send_task(name, kwargs=about)
    except BROKER_ERRORS as error:
        logger.warning("a notice will not be sent because the broker is down: %s", type(error).__name__)


def _event_key(kind: NoticeKind, subject: str, moment: datetime) -> str:
    return f"op:{kind.value}:{subject}:{hour_of(moment):%Y-%m-%dT%H}"


def _mail_key(kind: NoticeKind, moment: datetime, channel: str = "") -> str:
    return f"op-mail:{channel}{kind.value}:{hour_of(moment):%Y-%m-%dT%H}"


def _claim(event: Event, key: str) -> bool:
    """Whether this event's message is the first of its kind in its hour. Kept and removed as keys of events are."""
    try:
        with transaction.atomic():
            IdempotencyKey.objects.create(
                organization_id=event.organization_id,
                key=key,
                event_id=event.pk,
                fingerprint=b"",
                expires_at=event.received_at + _KEY_KEPT,
            )
    except IntegrityError:
        return False
    return True
