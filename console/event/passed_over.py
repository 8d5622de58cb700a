"""Why an event did not go to the other subscriptions: whoever looks for it there asks here."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from delivery.matching.event_view import ATTRIBUTES, EventView
from delivery.matching.interests import usable_filter
from delivery.matching.matching import Interest, Matcher
from delivery.models import Subscription, SubscriptionStatus
from ingestion.models import Event, EventStatus

# Whoever has more looks for one of them, on its own page.
MOST = 20
_LATE = "It was created after the event. Replay the event to send it there."
_CHANGED = "It takes such events now, but did not when this one was processed. Replay the event to send it there."


@dataclass(frozen=True, kw_only=True)
class PassedOver:
    """A subscription that got no delivery of the event, and the reason in a sentence.

    `takes_it`: it would get one by a replay.
    """

    subscription: Subscription
    why: str
    takes_it: bool


def passed_over(event: Event, subscriptions: Sequence[Subscription], given: Collection[UUID]) -> list[PassedOver]:
    """Of the subscriptions, at most MOST that are not among `given`; none before the event was processed."""
    if event.status != EventStatus.PROCESSED:
        return []
    others = [row for row in subscriptions if row.pk not in given and row.status != SubscriptionStatus.DELETED][:MOST]
    view = EventView(**{name: getattr(event, name) for name in ATTRIBUTES}, data_text=event.data)
    fitting = set(Matcher(Interest(row.pk, row.event_types) for row in others).match(view))
    kept_out = _kept_out(fitting, view)
    return [
        PassedOver(
            subscription=row,
            why=_why(row, event, fitting, kept_out),
            takes_it=row.pk in fitting and row.pk not in kept_out,
        )
        for row in others
    ]


def _kept_out(fitting: Collection[UUID], view: EventView) -> set[UUID]:
    """Those whose filter leaves the event out."""
    rows = Subscription.objects.filter(pk__in=fitting, filter__isnull=False).values_list("pk", "filter")
    wanted = ((pk, usable_filter(pk, value)) for pk, value in rows)
    return {pk for pk, found in wanted if found is not None and not found.matches(view)}


def _why(row: Subscription, event: Event, fitting: Collection[UUID], kept_out: Collection[UUID]) -> str:
    if row.pk not in fitting:
        shown = ", ".join(row.event_types[:3])
        return f"It takes only {shown}{' and others' if len(row.event_types) > 3 else ''}."
    if row.pk in kept_out:
        return "Its filter leaves this event out."
    if row.sleeps:
        return "Nobody has read this inbox yet. It has every kept event once a consumer reads it."
    return _LATE if row.created_at > event.received_at else _CHANGED
