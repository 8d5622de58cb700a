"""`/api/v1/inbox`."""

import logging
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError
from django.db.models import OuterRef, Subquery
from django.http import Http404, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.decoding import decode
from core.postgresql.portions import Large
from core.problems import Problem, invalid
from core.times import format_time
from core.turns import fair_time
from delivery.api.inbox import schemas
from delivery.api.inbox.consumers import consumers
from delivery.api.inbox.schemas import (
    Ack,
    AckOutcome,
    Extension,
    InboxEvent,
    LeaseExtended,
    LeaseRequest,
    LeaseShown,
    Nack,
    NackOutcome,
)
from delivery.models import DEFAULT_INBOX, OPEN_STATUSES, Delivery, DeliveryStatus, Subscription
from delivery.operations import (
    Lease,
    ack_events,
    extend_lease,
    fill_page,
    find_inbox,
    inbox_deliveries,
    lease_events,
    nack_events,
)
from delivery.shown_status import held_reason, shown_status
from ingestion.api.presenting import describe_event
from ingestion.models import LARGE, LARGE_COLUMNS, Event
from organizations.keys.authentication import caller_of
from organizations.keys.scopes import Scope
from rest import large_answers
from rest.compat import django_request
from rest.doors import waiting
from rest.doors.shares import Held
from rest.doors.threads import for_streams
from rest.large_answers import Slot, answer_of, json_members
from rest.lists import Listing, list_answer, read_page
from rest.parsing import read_body, read_optional

logger = logging.getLogger(__name__)

BODY_LIMIT = 128 * 1024
# It is held for as long as its consumer waits.
LEASE_BODY_LIMIT = 16 * 1024
_NOTHING = msgspec.json.encode(LeaseShown(lease_id=None, expires_at=None, events=[]))


class InboxView(APIView):
    """The events of an inbox, without taking them."""

    scopes = {"GET": Scope.INBOX_CONSUME}
    operations = schemas.LIST

    def get(self, request: Request) -> HttpResponseBase:
        page = read_page(request, "inbox")
        status = request.query_params.get("status", DeliveryStatus.PENDING.value)
        if status not in DeliveryStatus.values:
            raise invalid("/status", "invalid", f"status is one of {', '.join(DeliveryStatus.values)}.")
        inbox = _inbox_of(request)
        if status in (*OPEN_STATUSES, DeliveryStatus.HELD):
            fill_page(inbox, before=UUID(page.before) if page.before else None, size=page.limit + 1)
        listing = Listing(
            rows=inbox_deliveries(inbox=inbox, status=DeliveryStatus(status)),
            describe=lambda found: _shown(found, _with_data(found, inbox), inbox, timezone.now()),
            large=_large_columns(inbox),
        )
        return list_answer(request, page, listing, owner=inbox.organization_id)


class LeaseView(APIView):
    """Take events for a while."""

    scopes = {"POST": Scope.INBOX_CONSUME}
    operations = schemas.LEASE

    def post(self, request: Request) -> HttpResponseBase:
        wanted = read_optional(request, LeaseRequest, limit=LEASE_BODY_LIMIT)
        caller, inbox, since = caller_of(request), _inbox_of(request), time.monotonic()
        slot = Slot(inbox.organization_id.int)
        can_wait = wanted.wait_seconds > 0 and isinstance(django_request(request), ASGIRequest)
        # Where others stand in line, it was empty a moment ago.
        chunks = None if can_wait and consumers.have_line(inbox.pk) else _lease(inbox, wanted, slot)
        if chunks is None and can_wait:
            room = waiting.hold(waiting.leases, inbox.organization_id.int)
            later = _waited(inbox, wanted, caller.key_id, room, since=since)
            return StreamingHttpResponse(later, content_type="application/json")
        return answer_of(django_request(request), iter([_NOTHING]) if chunks is None else chunks, slot)


class AckView(APIView):
    """Acknowledge events: they leave the pending ones."""

    scopes = {"POST": Scope.INBOX_CONSUME}
    operations = schemas.ACK

    def post(self, request: Request) -> Response:
        ack = decode(read_body(request, limit=BODY_LIMIT), Ack)
        outcome = ack_events(
            inbox=_inbox_of(request), event_ids=ack.event_ids, lease_id=ack.lease_id, now=timezone.now()
        )
        answer = AckOutcome(
            acknowledged=outcome.done,
            already_acknowledged=outcome.already_acknowledged,
            stale=outcome.stale,
            unknown=outcome.unknown,
        )
        return Response(answer)


class NackView(APIView):
    """Give events back."""

    scopes = {"POST": Scope.INBOX_CONSUME}
    operations = schemas.NACK

    def post(self, request: Request) -> Response:
        nack = decode(read_body(request, limit=BODY_LIMIT), Nack)
        outcome = nack_events(
            inbox=_inbox_of(request), event_ids=nack.event_ids, lease_id=nack.lease_id, now=timezone.now()
        )
        answer = NackOutcome(
            returned=outcome.done,
            already_acknowledged=outcome.already_acknowledged,
            stale=outcome.stale,
            unknown=outcome.unknown,
        )
        return Response(answer)


class ExtendView(APIView):
    """Go on with a lease."""

    scopes = {"POST": Scope.INBOX_CONSUME}
    operations = schemas.EXTEND

    def post(self, request: Request) -> Response:
        extension = decode(read_body(request, limit=BODY_LIMIT), Extension)
        now = timezone.now()
        expires_at = now + timedelta(seconds=extension.lease_seconds)
        extended = extend_lease(inbox=_inbox_of(request), lease_id=extension.lease_id, expires_at=expires_at, now=now)
        if not extended:
            raise Problem("not_found", "The lease holds no event of this inbox any more.")
        return Response(
            LeaseExtended(lease_id=extension.lease_id, expires_at=format_time(expires_at), extended=extended)
        )


def _inbox_of(request: Request) -> Subscription:
    name = request.query_params.get("inbox", DEFAULT_INBOX)
    inbox = find_inbox(organization_id=caller_of(request).organization_id, name=name)
    if inbox is None:
        raise Http404
    return inbox


def _lease(inbox: Subscription, wanted: LeaseRequest, slot: Slot) -> Iterator[bytes] | None:
    """A lease as the answer shows it; None when there is nothing. It holds `slot` if it is more than a portion."""
    now = timezone.now()
    lease = lease_events(
        inbox=inbox,
        limit=wanted.max,
        duration=timedelta(seconds=wanted.lease_seconds),
        now=now,
        max_bytes=large_answers.MAX_BYTES if slot.take() else large_answers.PORTION_BYTES,
    )
    if lease is None or sum(lease.sizes) <= large_answers.PORTION_BYTES:
        slot.give_back()
    return None if lease is None else _lease_chunks(lease, inbox, now)


async def _waited(
    inbox: Subscription, wanted: LeaseRequest, key_id: UUID, room: Held, *, since: float
) -> AsyncIterator[bytes]:
    """The answer, once there is something or the time is over. The inbox is looked at anew: it may be paused by now."""
    owner = inbox.organization_id.int
    ends_at = since + wanted.wait_seconds
    try:
        # The server sends the head with the first byte; JSON may begin with a space.
        yield b" "
        with consumers.stand_in_line(inbox.pk, key_id, since=since) as waiter:
            while await waiter.wait(ends_at - time.monotonic()):
                slot = Slot(owner)
                chunks, took = await for_streams(_lease_again, owner)(inbox, wanted, slot)
                fair_time.spend(owner, took)
                if chunks is not None:
                    consumers.call_next(inbox.pk)
                    break
            else:
                yield _NOTHING
                return
        async for chunk in large_answers.sent(chunks, slot):
            yield chunk
    finally:
        room.give_back()


def _lease_again(inbox: Subscription, wanted: LeaseRequest, slot: Slot) -> Iterator[bytes] | None:
    try:
        found = find_inbox(organization_id=inbox.organization_id, name=inbox.name)
        return None if found is None else _lease(found, wanted, slot)
    except DatabaseError as error:
        logger.warning("a waiting lease was not made: %s", type(error).__name__)
        return None


def _lease_chunks(lease: Lease, inbox: Subscription, now: datetime) -> Iterator[bytes]:
    """LeaseShown, with the events read portion by portion."""
    portions = (_shown(part, _events_of(part, inbox), inbox, now) for part in _portions(lease))
    encoded = ([msgspec.json.encode(event) for event in events if event is not None] for events in portions)
    yield from json_members({"lease_id": lease.id, "expires_at": format_time(lease.expires_at)}, "events", encoded)
    yield b"}"


def _portions(lease: Lease) -> Iterator[list[Delivery]]:
    part: list[Delivery] = []
    total = 0
    for delivery, size in zip(lease.deliveries, lease.sizes, strict=True):
        if part and total + size > large_answers.PORTION_BYTES:
            yield part
            part, total = [], 0
        part.append(delivery)
        total += size
    yield part


def _shown(
    deliveries: Sequence[Delivery], events: Mapping[UUID, Event], inbox: Subscription, now: datetime
) -> list[InboxEvent | None]:
    """The deliveries with their events, in the same order; None where retention took the event before its delivery."""
    return [
        InboxEvent(
            **describe_event(events[delivery.event_id]),
            status=shown_status(delivery, inbox, now=now),
            held_reason=held_reason(delivery, inbox, now=now),
            leases=delivery.attempts,
            leased_until=_leased_until(delivery, now),
        )
        if delivery.event_id in events
        else None
        for delivery in deliveries
    ]


def _events_of(deliveries: Sequence[Delivery], inbox: Subscription) -> dict[UUID, Event]:
    wanted = [delivery.event_id for delivery in deliveries]
    return Event.objects.for_organization(inbox.organization_id).in_bulk(wanted)


def _large_columns(inbox: Subscription) -> Large:
    """Of the events: a list's deliveries bring them along, as far as there is room."""
    event = Event.objects.for_organization(inbox.organization_id).filter(pk=OuterRef("event_id"))
    return {name: Subquery(event.values_list(value)[:1]) for name, value in LARGE.items()}


def _with_data(deliveries: Sequence[Delivery], inbox: Subscription) -> dict[UUID, Event]:
    """The events of deliveries that have brought what is LARGE along."""
    wanted = [delivery.event_id for delivery in deliveries]
    events = Event.objects.for_organization(inbox.organization_id).defer(*LARGE_COLUMNS).in_bulk(wanted)
    for delivery in deliveries:
        if delivery.data_text is None and delivery.data_jsonb is None:  # type: ignore[attr-defined]
            events.pop(delivery.event_id, None)  # it has left between the two queries
        elif event := events.get(delivery.event_id):
            for name in LARGE_COLUMNS:
                setattr(event, name, getattr(delivery, name))
    return events


def _leased_until(delivery: Delivery, now: datetime) -> str | None:
    ends = delivery.next_attempt_at if delivery.lease_id else None
    return format_time(ends) if ends and ends > now else None
