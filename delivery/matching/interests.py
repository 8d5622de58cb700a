"""Who wants which events, by organization: read once in each process, and again when it changes."""

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from core.postgresql.portions import octets
from core.problems import Problem
from delivery.kinds import RULES
from delivery.matching.filters import Filter, compile_filter
from delivery.matching.matching import Interest, Matcher
from delivery.models import Subscription
from delivery.ordering.keys import Order, order_of

logger = logging.getLogger(__name__)
# A change gets its time before it is committed: look back this far, so that a late commit is not missed.
OVERLAP_SECONDS = 10.0
# Some 10 KB each with a dozen subscriptions.
REMEMBERED_ORGANIZATIONS = 10_000
# Of the patterns and filters of all of them, as JSON; compiled they take some ten times as much.
REMEMBERED_BYTES = 8 * 1024 * 1024

_CHANGED = """
SELECT DISTINCT organization_id FROM delivery_subscription
WHERE changed_at > statement_timestamp() - make_interval(secs => %s)
"""


class Wanted(NamedTuple):
    """A subscription that wants an event, and by what it puts events in order, if it does."""

    subscription_id: UUID
    is_sent: bool
    order: Order | None


class SubscriptionIndex:
    """The interests of the organizations that this process has seen."""

    def __init__(self) -> None:
        self._known: OrderedDict[UUID, _Known] = OrderedDict()
        self._read_at = time.monotonic()

    def of(self, organization_ids: Collection[UUID]) -> dict[UUID, Matcher[Wanted]]:
        """As they are in the caller's transaction: a subscription that is committed misses no event after it."""
        self._forget_changed()
        if missing := self.unknown(organization_ids):
            self._known.update(_read(missing))
        found = {pk: self._known[pk].matcher for pk in organization_ids}
        total = sum(known.size for known in self._known.values()) if missing else 0
        while len(self._known) > REMEMBERED_ORGANIZATIONS or total > REMEMBERED_BYTES:
            total -= self._known.popitem(last=False)[1].size
        return found

    def unknown(self, organization_ids: Collection[UUID]) -> list[UUID]:
        """Those that it has not read yet, or forgotten."""
        return [pk for pk in organization_ids if pk not in self._known]

    def forget(self, organization_ids: Iterable[UUID] | None = None) -> None:
        """These, or all."""
        for pk in list(self._known) if organization_ids is None else organization_ids:
            self._known.pop(pk, None)

    def _forget_changed(self) -> None:
        now = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(_CHANGED, [now - self._read_at + OVERLAP_SECONDS])
            self.forget(pk for (pk,) in cursor.fetchall())
        self._read_at = now


class _Known(NamedTuple):
    """What an organization wants, and how large that is in the database."""

    matcher: Matcher[Wanted]
    size: int


def _read(organization_ids: Collection[UUID]) -> dict[UUID, _Known]:
    rows: dict[UUID, list[Interest[Wanted]]] = {pk: [] for pk in organization_ids}
    sizes: Counter[UUID] = Counter()
    awake = Subscription.objects.not_deleted().filter(sleeps=False)
    shown = awake.filter(organization__in=organization_ids).order_by("pk")
    columns = shown.values_list(
        "pk", "organization_id", "kind", "order_by", "event_types", "filter", octets("event_types") + octets("filter")
    )
    for pk, organization_id, kind, order_by, patterns, wanted, size in columns:
        sizes[organization_id] += size
        order = order_of(order_by)
        key = Wanted(subscription_id=pk, is_sent=RULES[kind].is_sent, order=order)
        interest = Interest(
            key=key,
            patterns=patterns,
            filter=usable_filter(pk, wanted),
            needs_data=order is not None and order.needs_data,
        )
        rows[organization_id].append(interest)
    return {pk: _Known(matcher=Matcher(found), size=sizes[pk]) for pk, found in rows.items()}


def usable_filter(subscription_id: UUID, wanted: Any) -> Filter | None:
    """The compiled filter of a subscription, for live events and for replays alike; None when every event passes.

    One that does not compile any more (a newer version wrote it, or somebody by hand) counts as none: of too many
    events a receiver can leave some, of too few it would learn nothing.
    """
    if wanted is None:
        return None
    try:
        return compile_filter(wanted)
    except Problem as problem:
        why = problem.errors[0].detail if problem.errors else problem.detail
        logger.warning("the filter of subscription %s cannot be used and is ignored: %s", subscription_id, why)
        return None


subscription_index = SubscriptionIndex()


def forget_interests() -> None:
    """Drop what this process knows, for tests."""
    subscription_index.forget()
