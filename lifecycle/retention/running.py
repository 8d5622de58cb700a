"""Retention: what is past its time leaves. Run hourly by beat, and by `manage.py apply_retention`."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from django.utils import timezone

from accounts.retention import ended_places, expired_sessions, old_sign_ins
from delivery.issues.operations import old_issues
from delivery.operations import retention as deliveries
from delivery.ordering.queues import forget_queues, let_go
from delivery.outcome_counts.models import CountStep, OutcomeCount
from delivery.queue_samples.models import QueueSample
from ingestion.models import EventType
from ingestion.operations import retention as events
from lifecycle.retention.floors import Floors, find_floors
from lifecycle.retention.steps import (
    SECONDS_PER_PORTION,
    Budget,
    Removable,
    Step,
    batches_step,
    partitions_step,
    repeated,
    rows_step,
)
from lifecycle.single_runner import single_runner
from organizations.models import ApiKey
from organizations.operations.retention import ended_keys, old_audit_entries, old_invitations
from portal.links import KEPT, old_links

logger = logging.getLogger(__name__)
# Of one run of all; any fixed number does.
LOCK = 7_022_027


@dataclass(frozen=True, kw_only=True)
class RetentionRun:
    """How many rows or partitions left, by step. `is_over`: there was time for all of them."""

    removed: dict[str, int]
    is_over: bool


def apply_retention(
    *,
    now: datetime | None = None,
    seconds: float = SECONDS_PER_PORTION,
    on_progress: Callable[[Step, int], None] | None = None,
) -> RetentionRun | None:
    """Remove what is past its time, for about `seconds`; None when another run is on.

    `on_progress` is called after each step. Safe to kill: every batch is a transaction of its own.
    """
    budget = Budget(seconds)
    with single_runner(LOCK) as is_ours:
        if not is_ours:
            return None
        removed: dict[str, int] = {}
        for step in steps():
            # Anew for each step: the ones before end work that events were kept for.
            removed[step.what] = step.remove(find_floors(now=now or timezone.now()), budget)
            if on_progress:
                on_progress(step, removed[step.what])
    if gone := {what: count for what, count in removed.items() if count}:
        logger.info("retention: %s", ", ".join(f"{what} {count}" for what, count in gone.items()))
    return RetentionRun(removed=removed, is_over=not budget.is_spent)


def preview(*, now: datetime) -> list[tuple[Step, Removable]]:
    """What each step would remove now. What only leaves once a step before has run is not in it."""
    floors = find_floors(now=now)
    return [(step, step.preview(floors)) for step in steps()]


def steps() -> list[Step]:
    """In their order: open work ends, whole weeks leave, then single rows."""
    return [*_ending(), *_whole_weeks(), *_single_rows(), *_beside_events(), *_beside_deliveries(), *_beside_people()]


def _ending() -> list[Step]:
    delivery = {"table": "delivery_delivery", "owner_column": "subscription_id", "condition": deliveries.OPEN}
    return [
        batches_step(
            "open deliveries of deleted subscriptions",
            "ended at once",
            owners=lambda _: deliveries.deleted_subscriptions_with_open(),
            batch=lambda pk, _: deliveries.end_deliveries_of_deleted(subscription_id=pk, now=timezone.now()),
            **delivery,
        ),
        batches_step(
            "open deliveries of old events",
            "ended with their events",
            owners=lambda floors: deliveries.subscriptions_with_old(floors.ages, condition=deliveries.OPEN),
            batch=lambda pk, floor: deliveries.expire_deliveries(subscription_id=pk, below=floor, now=timezone.now()),
            **delivery,
        ),
    ]


def _whole_weeks() -> list[Step]:
    return [
        partitions_step(
            "ingestion_event", "by plan", lambda partition, floors: events.events_are_needed(partition, floors.events)
        ),
        *(
            partitions_step(
                table,
                _delivery_period(),
                lambda partition, floors: deliveries.deliveries_are_needed(partition, floors.deliveries),
            )
            for table in ("delivery_delivery", "delivery_attempt")
        ),
    ]


def _single_rows() -> list[Step]:
    """Of organizations with a shorter period than the longest; and what lies in no week, of everybody."""
    return [
        step
        for is_default in (False, True)
        for step in (
            _events_step(is_default=is_default),
            _old_step(
                "delivery_delivery", deliveries.remove_deliveries, is_default=is_default, condition=deliveries.CLOSED
            ),
            _old_step("delivery_attempt", deliveries.remove_attempts, is_default=is_default),
        )
    ]


def _events_step(*, is_default: bool) -> Step:
    table = "ingestion_event_default" if is_default else "ingestion_event"
    return batches_step(
        table,
        "by plan",
        owners=lambda floors: events.organizations_with_old(_shorter(floors, floors.events, is_default), table=table),
        batch=lambda pk, floor: events.remove_events(organization_id=pk, below=floor, table=table),
        table=table,
        owner_column="organization_id",
    )


def _old_step(kind: str, remove: Callable[..., int], *, is_default: bool, condition: str = "true") -> Step:
    table = f"{kind}_default" if is_default else kind
    return batches_step(
        table,
        _delivery_period(),
        owners=lambda floors: deliveries.subscriptions_with_old(
            _shorter(floors, floors.deliveries, is_default), table=table, condition=condition
        ),
        batch=lambda pk, floor: remove(subscription_id=pk, below=floor, table=table),
        table=table,
        owner_column="subscription_id",
        condition=condition,
    )


def _shorter(floors: Floors, chosen: Mapping[UUID, UUID], is_default: bool) -> dict[UUID, UUID]:  # noqa: FBT001
    """Those of organizations with the longest period leave by whole weeks, which costs nothing."""
    if is_default:
        return dict(chosen)
    if chosen is floors.events:
        return {pk: floor for pk, floor in chosen.items() if floors.days[pk] < floors.longest}
    return {pk: floor for pk, floor in chosen.items() if floors.delivery_days(pk) < floors.longest_of_deliveries}


def _beside_events() -> list[Step]:
    """Tables without partitions, here and below."""
    days = settings.STATS_RETENTION_DAYS
    return [
        rows_step(
            "schedules of events",
            "by plan, once they were handed on",
            lambda floors: events.old_schedules(before=floors.kept_until()),
            time_field="done_at",
        ),
        _with_events("schedules of events that have left", events.forget_schedules),
        _with_events("failures of events that have left", events.forget_failures),
        rows_step(
            "hourly stats",
            f"{days} days",
            lambda floors: events.old_stats(organization_ids=floors.days.keys(), before=_ago(floors, days)),
            time_field="hour",
        ),
        rows_step(
            "event types without a description",
            f"{settings.EVENT_TYPE_RETENTION_DAYS} days after the last event, and no shorter than events",
            _old_event_types,
            time_field="last_seen_at",
        ),
        _by_age("intake counts", settings.INTAKE_COUNT_RETENTION_DAYS, events.old_intake_counts, "minute"),
    ]


def _with_events(what: str, forget: Callable[[Mapping[UUID, UUID]], int]) -> Step:
    return Step(
        what=what,
        period="with their events",
        preview=lambda _: Removable(),
        remove=lambda floors, _: forget(floors.events),
    )


def _beside_deliveries() -> list[Step]:
    days = settings.REPLAY_RETENTION_DAYS
    return [
        Step(
            what="queues of keys",
            period="by the longest plan, once nothing waits in them",
            preview=lambda _: Removable(),
            remove=_tidy_queues,
        ),
        rows_step(
            "deleted subscriptions",
            "a day, and their deliveries",
            lambda floors: deliveries.left_subscriptions(before=_ago(floors, 1)),
            time_field="changed_at",
        ),
        *_of_charts("counts of attempts", OutcomeCount),
        *_of_charts("samples of queues", QueueSample),
        rows_step(
            "replays",
            f"{days} days, and their events",
            lambda floors: deliveries.old_replays(before=_ago(floors, days), kept_until=floors.kept_until()),
            time_field="finished_at",
        ),
        _by_age("retries of dead letters", days, deliveries.old_retries, "finished_at"),
        _by_age("issues", days, old_issues, "last_seen_at"),
    ]


def _beside_people() -> list[Step]:
    return [
        _by_age("ended API keys", settings.KEY_RETENTION_DAYS, _ended_keys, "created_at"),
        _by_age("audit entries", settings.AUDIT_RETENTION_DAYS, old_audit_entries, "created_at"),
        _by_age("admin's own log", settings.AUDIT_RETENTION_DAYS, _old_admin_log, "action_time"),
        rows_step(
            "portal links and sessions",
            "a day after they have ended",
            lambda floors: old_links(before=floors.now - KEPT),
            time_field="created_at",
        ),
        _by_age("invitations", settings.INVITATION_RETENTION_DAYS, old_invitations, "created_at"),
        rows_step("sessions", "until they expire", lambda floors: expired_sessions(now=floors.now)),
        rows_step("places of sessions", "with their sessions", lambda floors: ended_places(now=floors.now)),
        *(
            _by_age(name, settings.LOGIN_RETENTION_DAYS, partial(_sign_ins, number), "attempt_time")
            for number, name in enumerate(("sign-in attempts", "sign-ins", "failed sign-ins"))
        ),
    ]


def _tidy_queues(floors: Floors, budget: Budget) -> int:
    """What a partition took along that was a head, or a version before ended, is waited for no longer."""
    let_go()
    return repeated(lambda: forget_queues(before=_ago(floors, floors.longest_of_deliveries)), budget)


def _old_event_types(floors: Floors) -> "QuerySet[EventType]":
    shortest = _ago(floors, settings.EVENT_TYPE_RETENTION_DAYS)
    return events.old_event_types(
        before={pk: min(moment, shortest) for pk, moment in floors.kept_until().items()}, deleted_before=_ago(floors, 1)
    )


def _ended_keys(*, before: datetime) -> "QuerySet[ApiKey]":
    return ended_keys(ApiKey.objects.order_by("pk"), before=before)


def _by_age(what: str, days: int, rows: "Callable[..., QuerySet[Any]]", time_field: str) -> Step:
    return rows_step(what, f"{days} days", lambda floors: rows(before=_ago(floors, days)), time_field=time_field)


def _of_charts(what: str, model: type[OutcomeCount | QueueSample]) -> list[Step]:
    """What charts are drawn from: the range of an hour by the minute, and longer ones by the hour."""
    rows = model._default_manager.order_by("pk")
    return [
        rows_step(
            f"{what} by the minute",
            "two hours",
            lambda floors: rows.filter(step=CountStep.MINUTE, start__lt=floors.now - timedelta(hours=2)),
        ),
        _by_age(
            what,
            settings.INTAKE_COUNT_RETENTION_DAYS,
            lambda *, before: rows.filter(step=CountStep.HOUR, start__lt=before),
            "start",
        ),
    ]


def _old_admin_log(*, before: datetime) -> "QuerySet[LogEntry]":
    return LogEntry.objects.filter(action_time__lt=before).order_by("pk")


def _sign_ins(number: int, *, before: datetime) -> "QuerySet[Any]":
    return old_sign_ins(before=before)[number]


def _ago(floors: Floors, days: int) -> datetime:
    return floors.now - timedelta(days=days)


def _delivery_period() -> str:
    days = settings.DELIVERY_RETENTION_DAYS
    return f"{days} days, no longer than events" if days else "with their events"
