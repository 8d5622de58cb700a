"""From processed events to deliveries."""

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from operator import attrgetter
from uuid import UUID

from django.db import connection, transaction

from core.postgresql.arrays import uuid_array
from delivery.delivery_ids import delivery_id
from delivery.matching.event_view import ATTRIBUTES, EventView
from delivery.matching.interests import Wanted, subscription_index
from delivery.matching.matching import Matcher
from delivery.matching.stored_events import read_views
from delivery.metrics import FANNED_OUT
from delivery.models import DEFAULT_INBOX, DeliveryStatus, Subscription, SubscriptionKind
from delivery.ordering.queues import Joining, join_queues
from delivery.wakeup import wake_consumers, wake_sending
from ingestion.operations.process import StoredEvent

# What exists is left as it is: an event commits its deliveries once. Due by PostgreSQL's clock: a worker whose own is
# ahead would hold deliveries back for as long.
_INSERT = """
INSERT INTO delivery_delivery (id, organization_id, subscription_id, event_id, status, created_at, next_attempt_at)
SELECT id, organization_id, subscription_id, event_id, %(status)s, statement_timestamp(), statement_timestamp()
FROM unnest(%(ids)s::uuid[], %(organizations)s::uuid[], %(subscriptions)s::uuid[], %(events)s::uuid[])
    AS new (id, organization_id, subscription_id, event_id)
ON CONFLICT (id) DO NOTHING
"""
_seen = attrgetter(*ATTRIBUTES)


def fan_out(events: Sequence[StoredEvent]) -> None:
    """Give each event its deliveries, in the caller's transaction. Called twice, it changes nothing."""
    if not events:
        return
    organizations = {event.organization_id for event in events}
    made = _make_missing_inboxes(subscription_index.unknown(organizations))
    interests = subscription_index.of(organizations)
    subscription_index.forget(made)  # which this transaction may yet take back
    matches, ordered = _match(events, interests)
    _insert(matches)
    transaction.on_commit(partial(FANNED_OUT.inc, join_queues(ordered)))
    if due := {(event.organization_id, wanted.subscription_id) for event, wanted in matches if wanted.is_sent}:
        transaction.on_commit(partial(wake_sending, due))
    if inboxes := {wanted.subscription_id for _, wanted in matches if not wanted.is_sent}:
        transaction.on_commit(partial(wake_consumers, inboxes))


def _match(
    events: Sequence[StoredEvent], interests: dict[UUID, Matcher[Wanted]]
) -> tuple[list[tuple[StoredEvent, Wanted]], list[Joining]]:
    """What wants each event: without an order, and in the order of a key."""
    matches: list[tuple[StoredEvent, Wanted]] = []
    ordered: list[Joining] = []
    for event, view in _views(events, interests):
        for wanted in interests[event.organization_id].match(view):
            key = wanted.order.key_of(view) if wanted.order is not None else None
            if key is None:
                matches.append((event, wanted))
                continue
            pk = delivery_id(event.id, wanted.subscription_id)
            ordered.append(Joining(pk, event.organization_id, wanted.subscription_id, event.id, key, event.position))
    return matches, ordered


def default_inboxes(organization_ids: Collection[UUID], *, sleep: bool = True) -> dict[UUID, UUID]:
    """Organization → its inbox `default`, made where it is missing; a new one may `sleep` until it is read."""
    ids = _existing(organization_ids)
    if missing := sorted(set(organization_ids) - ids.keys()):
        Subscription.objects.bulk_create(
            [
                Subscription(organization_id=pk, kind=SubscriptionKind.INBOX, name=DEFAULT_INBOX, sleeps=sleep)
                for pk in missing
            ],
            ignore_conflicts=True,
        )
        ids = _existing(organization_ids)
    return ids


def _make_missing_inboxes(organization_ids: Collection[UUID]) -> set[UUID]:
    """The organizations that had no inbox `default`. One that has it keeps it, so that it need not be asked again."""
    missing = set(organization_ids) - _existing(organization_ids).keys() if organization_ids else set()
    if missing:
        default_inboxes(missing)
    return missing


def _existing(organization_ids: Collection[UUID]) -> dict[UUID, UUID]:
    inboxes = Subscription.objects.not_deleted().filter(kind=SubscriptionKind.INBOX, name=DEFAULT_INBOX)
    return dict(inboxes.filter(organization__in=organization_ids).values_list("organization_id", "pk"))


def _views(
    events: Sequence[StoredEvent], interests: dict[UUID, Matcher[Wanted]]
) -> Iterator[tuple[StoredEvent, EventView]]:
    """Each event as filters see it; with its data only where some filter looks into it."""
    curious: dict[UUID, StoredEvent] = {}
    for event in events:
        if interests[event.organization_id].needs_data:
            curious[event.id] = event
        else:
            yield event, EventView(*(*_seen(event), "null"))
    for event_id, view in read_views(list(curious)):
        yield curious[event_id], view


def _insert(matches: Sequence[tuple[StoredEvent, Wanted]]) -> None:
    if not matches:
        return
    values = {
        "ids": uuid_array(delivery_id(event.id, wanted.subscription_id) for event, wanted in matches),
        "organizations": uuid_array(event.organization_id for event, _ in matches),
        "subscriptions": uuid_array(wanted.subscription_id for _, wanted in matches),
        "events": uuid_array(event.id for event, _ in matches),
        "status": DeliveryStatus.PENDING.value,
    }
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, values)
        made = cursor.rowcount
    transaction.on_commit(lambda: FANNED_OUT.inc(made))
