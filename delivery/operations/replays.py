"""Replays: new deliveries of old events, made in bounded batches.

A batch is one transaction: claim the replay, read the next events, insert their deliveries, move the cursor. A killed
batch leaves nothing behind and is done again. The subscription's own event types and filter apply as they are at that
moment: a replay delivers what the subscription would get if the events came now.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Greatest
from django.utils import timezone
from psycopg.errors import QueryCanceled

from core.broker.wakeup import Waker
from core.event_ids import lowest_id
from core.postgresql.arrays import uuid_array
from core.problems import invalid
from delivery.delivery_ids import bounds_of_event, delivery_id
from delivery.matching.interests import usable_filter
from delivery.matching.stored_events import read_views
from delivery.models import Delivery, DeliveryStatus, Replay, ReplayStatus, Subscription, SubscriptionStatus
from delivery.usage import usage_of
from ingestion.models import Event, EventQuerySet
from organizations.audit import Actor, record
from organizations.limits import hold_limits, refuse_over
from organizations.models import TenantQuerySet

logger = logging.getLogger(__name__)
# One transaction: some 30 ms of inserts. A filter that looks into data reads at most 256 KiB of each event.
EVENTS_PER_BATCH = 1_000
DATA_EVENTS_PER_BATCH = 250
# About a second of counting. The total of a larger replay grows as it is looked at.
MAX_COUNTED = 1_000_000
# Sweeps in a row, each 5 s after the one before. What fails in our code so often will not succeed. What takes too long
# may wait for a lock, which passes.
MAX_FAILURES = 5
MAX_TIMEOUTS = 60
REPLAYS_PER_ROUND = 100
# An event's id is made before its row is committed: by now every older one is there, so that the cursor may pass.
SETTLED_AFTER = timedelta(seconds=10)
# How far an event's id may be from the time that it was received.
_SLACK = timedelta(minutes=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_INSERT = """
INSERT INTO delivery_delivery
    (id, organization_id, subscription_id, event_id, status, created_at, next_attempt_at, replay_id)
SELECT id, %(organization)s, %(subscription)s, event_id, %(status)s, %(now)s, %(now)s, %(replay)s
FROM unnest(%(ids)s::uuid[], %(events)s::uuid[]) AS new (id, event_id)
ON CONFLICT (id) DO NOTHING
"""

_waker = Waker("delivery.run_replays")


@dataclass(frozen=True, kw_only=True)
class ReplayWish:
    """Which events: received from `received_after` on and before `received_before`, of any of the patterns."""

    received_after: datetime
    received_before: datetime
    event_types: Sequence[str] = ("*",)
    only_undelivered: bool = False


def create_replay(
    *, subscription: Subscription, wish: ReplayWish, actor: Actor, now: datetime, dry_run: bool = False
) -> Replay:
    """Start a replay; on a dry run, only count. Events after `now` are not old ones: the window ends there at most.

    A dry run returns a replay that is not saved. Raises Problem 422, or 409 for one too many.
    """
    replay = Replay(
        organization=subscription.organization,
        subscription=subscription,
        received_after=wish.received_after,
        received_before=min(wish.received_before, now),
        event_types=list(wish.event_types),
        only_undelivered=wish.only_undelivered,
        status=ReplayStatus.RUNNING,
        created_at=now,
        looked_at=0,
        created=0,
        failure="",
    )
    if replay.received_after >= replay.received_before:
        raise invalid("/received_after", "empty_window", "received_after must be before received_before and now.")
    replay.total = _count(replay)
    return replay if dry_run else _start(replay, actor)


@transaction.atomic
def cancel_replay(*, replay: Replay, actor: Actor, now: datetime) -> Replay:
    """Stop it after the batch at hand; what is over stays as it is. Deliveries that were made stay."""
    running = Replay.objects.filter(pk=replay.pk, status=ReplayStatus.RUNNING)
    if running.update(status=ReplayStatus.CANCELLED, finished_at=now):
        record(actor=actor, action="replay.cancelled", target=replay, organization=replay.organization)
    replay.refresh_from_db()
    return replay


def run_replays(*, seconds: float = 20.0) -> int:
    """Get the running replays on, a batch of each in turn, for some `seconds`; returns how many deliveries it made.

    Safe to run anywhere at any time: each batch belongs to the one that has claimed it.
    """
    deadline = time.monotonic() + seconds
    made = 0
    failed: set[UUID] = set()  # which the next sweep tries again
    while time.monotonic() < deadline:
        running = _running().exclude(pk__in=failed).order_by("pk")
        chosen = list(running.values_list("pk", flat=True)[:REPLAYS_PER_ROUND])
        steps = [step for pk in chosen if (step := _run_or_note(pk, failed)) is not None]
        if not steps:
            break
        made += sum(steps)
    return made


def wake_replays() -> None:
    """Have the running ones got on with. Call after the commit."""
    _waker.wake()


@transaction.atomic
def _start(replay: Replay, actor: Actor) -> Replay:
    limits = hold_limits(replay.organization_id)
    used = usage_of(replay.organization_id, now=replay.created_at)
    if used["replays_running"] >= (most := limits.replays_running):
        raise invalid("", "too_many", f"An organization can have {most} replays running. Wait, or cancel one.")
    refuse_over(limits.replays_per_day, used=used["replays_per_day"], what="replays a day", way_out="Try again later.")
    replay.save(force_insert=True)
    changes = {
        "subscription": str(replay.subscription_id),
        "received_after": replay.received_after.isoformat(),
        "received_before": replay.received_before.isoformat(),
        "event_types": replay.event_types,
        "only_undelivered": replay.only_undelivered,
        "total": replay.total,
    }
    record(actor=actor, action="replay.created", target=replay, organization=replay.organization, changes=changes)
    transaction.on_commit(wake_replays)
    return replay


def _count(replay: Replay) -> int:
    """How many events it is to look at, of the first MAX_COUNTED."""
    events = _events_of(replay)
    if not replay.only_undelivered:
        return events[:MAX_COUNTED].count()
    end = events.order_by("pk").values_list("pk", flat=True)[MAX_COUNTED : MAX_COUNTED + 1].first()
    if end is not None:
        events = events.filter(id__lt=end)
    return events.exclude(Exists(_delivered(replay).filter(event_id=OuterRef("pk")))).count()


def _events_of(replay: Replay) -> EventQuerySet:
    """Those of the window and of the types; the rest is looked at batch by batch."""
    events = Event.objects.for_organization(replay.organization_id).filter(
        received_at__gte=replay.received_after, received_at__lt=replay.received_before, **_bounds_of(replay)
    )
    for patterns in (replay.subscription.event_types, replay.event_types):
        if "*" not in patterns:
            events = events.filter(_of_types(patterns))
    return events


def _bounds_of(replay: Replay) -> dict[str, UUID]:
    """Of the ids of events in the window and of their deliveries."""
    after = max(replay.received_after, _EPOCH)
    return {"id__gte": lowest_id(after - _SLACK), "id__lt": lowest_id(replay.received_before + _SLACK)}


def _of_types(patterns: Sequence[str]) -> Q:
    condition = Q(type__in=[pattern for pattern in patterns if not pattern.endswith("*")])
    for pattern in patterns:
        if pattern.endswith("*"):
            condition |= Q(type__startswith=pattern[:-1])
    return condition


def _delivered(replay: Replay) -> TenantQuerySet[Delivery]:
    """What was delivered to its subscription of the events in its window, which an index finds by the bounds."""
    return Delivery.objects.for_organization(replay.organization_id).filter(
        subscription=replay.subscription_id, status=DeliveryStatus.DELIVERED, **_bounds_of(replay)
    )


def _run_or_note(replay_id: UUID, failed: set[UUID]) -> int | None:
    """One batch; a replay that fails holds up no other one."""
    try:
        return _run_batch(replay_id, timezone.now())
    except (OperationalError, InterfaceError) as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise  # PostgreSQL's trouble, not the replay's
        logger.warning("a batch of replay %s took too long", replay_id)
        _note_failure(replay_id, "A batch took too long.", at_most=MAX_TIMEOUTS)
    except Exception as error:
        logger.exception("a batch of replay %s failed", replay_id)
        _note_failure(replay_id, f"A batch could not be made ({type(error).__name__}).", at_most=MAX_FAILURES)
    failed.add(replay_id)
    return None


def _note_failure(replay_id: UUID, failure: str, *, at_most: int) -> None:
    """After so many in a row it ends: its place is free for another one, and its events are for retention."""
    running = Replay.objects.filter(pk=replay_id, status=ReplayStatus.RUNNING)
    running.update(failures=F("failures") + 1, failure=failure)
    running.filter(failures__gte=at_most).update(status=ReplayStatus.FAILED, finished_at=timezone.now())


@transaction.atomic
def _run_batch(replay_id: UUID, now: datetime) -> int | None:
    """How many deliveries it made; None when there is nothing to do before the next sweep."""
    running = Replay.objects.filter(pk=replay_id, status=ReplayStatus.RUNNING)
    claimed = _running().filter(pk=replay_id).select_for_update(skip_locked=True, of=("self",))
    replay = claimed.select_related("subscription").first()
    if replay is None:
        return None
    if replay.subscription.status == SubscriptionStatus.DELETED:
        running.update(status=ReplayStatus.CANCELLED, finished_at=now)
        return None
    size = DATA_EVENTS_PER_BATCH if replay.subscription.filter else EVENTS_PER_BATCH
    events = _next_events(replay, size)
    wanted = _undelivered(replay, events) if replay.only_undelivered else events
    made = _insert(replay, _passing(replay.subscription, [event.pk for event in wanted]), now)
    limit = lowest_id(now - SETTLED_AFTER)
    settled = [event.pk for event in events if event.pk < limit]
    looked_at = F("looked_at") + sum(event.pk < limit for event in wanted)
    running.update(
        cursor=settled[-1] if settled else replay.cursor,
        looked_at=looked_at,
        created=F("created") + made,
        total=Greatest(F("total"), looked_at),
        failures=0,
        failure="",
    )
    if len(settled) == len(events) < size and replay.received_before <= now - SETTLED_AFTER:
        running.update(status=ReplayStatus.DONE, finished_at=now)
    return made if made or settled else None


def _running() -> TenantQuerySet[Replay]:
    """Those that may go on now: a suspended organization's wait."""
    return Replay.objects.filter(status=ReplayStatus.RUNNING, organization__suspended_at=None)


def _next_events(replay: Replay, size: int) -> list[Event]:
    events = _events_of(replay)
    if replay.cursor is not None:
        events = events.filter(id__gt=replay.cursor)
    return list(events.only("pk").order_by("pk")[:size])


def _undelivered(replay: Replay, events: Sequence[Event]) -> list[Event]:
    if not events:
        return []
    ids = [event.pk for event in events]
    lowest, highest = bounds_of_event(ids[0])[0], bounds_of_event(ids[-1])[1]
    delivered = _delivered(replay).filter(id__gte=lowest, id__lte=highest, event_id__in=ids)
    left = set(ids) - set(delivered.values_list("event_id", flat=True))
    return [event for event in events if event.pk in left]


def _passing(subscription: Subscription, event_ids: Sequence[UUID]) -> list[UUID]:
    """Those that pass the subscription's filter."""
    wanted = usable_filter(subscription.pk, subscription.filter)
    if wanted is None:
        return list(event_ids)
    matches = wanted.matches
    return [event_id for event_id, view in read_views(event_ids) if matches(view)]


def _insert(replay: Replay, event_ids: Sequence[UUID], now: datetime) -> int:
    """How many were not there yet: events that are not settled are looked at again."""
    if not event_ids:
        return 0
    subscription = replay.subscription
    values: dict[str, Any] = {
        "ids": uuid_array(delivery_id(event_id, subscription.pk, replay.pk) for event_id in event_ids),
        "events": uuid_array(event_ids),
        "organization": replay.organization_id,
        "subscription": subscription.pk,
        "replay": replay.pk,
        "status": DeliveryStatus.PENDING.value,
        "now": now,
    }
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, values)
        made: int = cursor.rowcount
    if made:
        transaction.on_commit(subscription.rules.wake)
    return made
