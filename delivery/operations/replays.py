"""Replays: new deliveries of old events, made in bounded batches.

The subscription's own event types and filter apply as they are at that moment: a replay delivers what the subscription
would get if the events came now.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q

from core.broker.wakeup import Waker
from core.event_ids import HIGHEST_ID, lowest_id
from core.field_errors import FieldError
from core.postgresql.arrays import uuid_array
from core.problems import Problem, invalid
from delivery.delivery_ids import bounds_of_event, delivery_id
from delivery.matching.interests import usable_filter
from delivery.matching.stored_events import read_views
from delivery.models import Delivery, DeliveryStatus, Replay, Subscription, SubscriptionStatus
from delivery.operations.sleeping_inboxes import wake_inbox
from delivery.ordering.keys import order_of
from delivery.ordering.queues import Joining, join_queues
from delivery.usage import usage_of
from ingestion.models import Event, EventQuerySet, Schedule, ScheduleStatus
from ingestion.positions import take_positions
from organizations.audit import Actor, record
from organizations.jobs.models import JobStatus
from organizations.jobs.running import JobKind, run_jobs
from organizations.limits import hold_limits, refuse_over
from organizations.models import TenantQuerySet

# One transaction: some 30 ms of inserts. A filter that looks into data reads at most 256 KiB of each event.
EVENTS_PER_BATCH = 1_000
DATA_EVENTS_PER_BATCH = 250
# About a second of counting. The total of a larger replay grows as it is looked at.
MAX_COUNTED = 1_000_000
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
class ReplayRequest:
    """Which events: those with `event_ids`, or all received from `received_after` on and before `received_before`.

    Of any of the patterns, in either case.
    """

    received_after: datetime | None = None
    received_before: datetime | None = None
    event_ids: Sequence[UUID] | None = None
    event_types: Sequence[str] = ("*",)
    only_undelivered: bool = False


def create_replay(
    *, subscription: Subscription, criteria: ReplayRequest, actor: Actor, now: datetime, dry_run: bool = False
) -> Replay:
    """Start a replay; on a dry run, only count. Events after `now` are not old ones: the window ends there at most.

    A dry run returns a replay that is not saved. Raises Problem 422, or 409 for one too many.
    """
    after, before = _window(subscription.organization_id, criteria, now)
    replay = Replay(
        organization=subscription.organization,
        subscription=subscription,
        received_after=after,
        received_before=before,
        event_ids=None if criteria.event_ids is None else list(criteria.event_ids),
        event_types=list(criteria.event_types),
        only_undelivered=criteria.only_undelivered,
        created_at=now,
    )
    replay.total = _count(replay)
    if dry_run:
        return replay
    wake_inbox(subscription)
    return _start(replay, actor)


def _window(organization_id: UUID, criteria: ReplayRequest, now: datetime) -> tuple[datetime, datetime]:
    """When the events were received. Raises Problem 422 that names what is unknown or makes no sense."""
    if criteria.event_ids is not None:
        return _window_of_ids(organization_id, criteria.event_ids)
    after, before = criteria.received_after, criteria.received_before
    if after is None or before is None:
        missing = "/received_after" if after is None else "/received_before"
        raise invalid(missing, "required", "Give received_after and received_before, or event_ids.")
    if after >= min(before, now):
        raise invalid("/received_after", "empty_window", "received_after must be before received_before and now.")
    return after, min(before, now)


def _window_of_ids(organization_id: UUID, event_ids: Sequence[UUID]) -> tuple[datetime, datetime]:
    events = Event.objects.for_organization(organization_id).filter(pk__in=event_ids)
    times = dict(events.values_list("pk", "received_at"))
    errors = [
        FieldError(pointer=f"/event_ids/{place}", code="unknown", detail="The organization has no event with this id.")
        for place, event_id in enumerate(event_ids)
        if event_id not in times
    ]
    if errors:
        raise Problem("validation_failed", errors=errors)
    return min(times.values()), max(times.values()) + timedelta(microseconds=1)


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
    window = {
        "received_after": replay.received_after.isoformat(),
        "received_before": replay.received_before.isoformat(),
    }
    changes = {
        "subscription": str(replay.subscription_id),
        **(window if replay.event_ids is None else {"chosen_events": len(replay.event_ids)}),
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
    """Those of the window and of the types, but cancelled ones; the rest is looked at batch by batch."""
    events = Event.objects.for_organization(replay.organization_id).filter(
        received_at__gte=replay.received_after, received_at__lt=replay.received_before, **_bounds_of(replay)
    )
    if replay.event_ids is not None:
        events = events.filter(pk__in=replay.event_ids)
    for patterns in (replay.subscription.event_types, replay.event_types):
        if "*" not in patterns:
            events = events.filter(of_types(patterns))
    cancelled = Schedule.objects.filter(pk=OuterRef("pk"), status=ScheduleStatus.CANCELLED)
    return events.exclude(Exists(cancelled))


def _bounds_of(replay: Replay) -> dict[str, UUID]:
    """Of the ids of events in the window and of their deliveries."""
    after = max(replay.received_after, _EPOCH)
    return {"id__gte": lowest_id(after - _SLACK), "id__lt": lowest_id(replay.received_before + _SLACK)}


def of_types(patterns: Sequence[str]) -> Q:
    """The condition on events that one of the patterns takes them."""
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


def _make_deliveries(replay: Replay, now: datetime) -> int | None:
    """Of the next events; returns how many there were none of yet."""
    if replay.subscription.status == SubscriptionStatus.DELETED:
        replay.end(JobStatus.CANCELLED, now)
        return None
    looks = replay.subscription.filter or replay.subscription.order_by
    size = DATA_EVENTS_PER_BATCH if looks else EVENTS_PER_BATCH
    events = _next_events(replay, size)
    wanted = _undelivered(replay, events) if replay.only_undelivered else events
    made = _insert_passing(replay, [event.pk for event in wanted], now)
    # Events that are named are there.
    limit = HIGHEST_ID if replay.event_ids is not None else lowest_id(now - SETTLED_AFTER)
    settled = [event.pk for event in events if event.pk < limit]
    replay.cursor = settled[-1] if settled else replay.cursor
    replay.looked_at += sum(event.pk < limit for event in wanted)
    replay.created += made
    replay.total = max(replay.total, replay.looked_at)
    is_closed = replay.event_ids is not None or replay.received_before <= now - SETTLED_AFTER
    if is_closed and len(settled) == len(events) < size:
        replay.end(JobStatus.DONE, now)
    return made if made or settled else None


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


def _insert_passing(replay: Replay, event_ids: Sequence[UUID], now: datetime) -> int:
    """Of those that pass the subscription's filter; those with a key come last in its queue, in their order."""
    subscription = replay.subscription
    wanted, order = usable_filter(subscription.pk, subscription.filter), order_of(subscription.order_by)
    if wanted is None and order is None:
        return _insert(replay, event_ids, now)
    passing = {
        event_id: order and order.key_of(view)
        for event_id, view in read_views(event_ids)
        if wanted is None or wanted.matches(view)
    }
    made = _insert(replay, [event_id for event_id, key in passing.items() if key is None], now)
    return made + _join(replay, sorted((event_id, key) for event_id, key in passing.items() if key is not None))


def _join(replay: Replay, keyed: Sequence[tuple[UUID, UUID]]) -> int:
    if not keyed:
        return 0
    subscription = replay.subscription
    joining = [
        Joining(
            delivery_id(event_id, subscription.pk, replay.pk),
            replay.organization_id,
            subscription.pk,
            event_id,
            key,
            position,
        )
        for position, (event_id, key) in enumerate(keyed, take_positions())
    ]
    return join_queues(joining, replay_id=replay.pk)


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


# Those of a suspended organization wait.
REPLAYS = JobKind(
    jobs=Replay.objects.filter(organization__suspended_at=None).select_related("subscription"), portion=_make_deliveries
)
run_replays = partial(run_jobs, REPLAYS)
