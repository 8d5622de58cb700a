"""`/api/v1/inbox`."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.http import Http404
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from delivery import inbox_openapi
from delivery.inbox_openapi import (
    Ack,
    AckOutcome,
    Extension,
    InboxEvent,
    InboxEventList,
    LeaseExtended,
    LeaseRequest,
    LeaseShown,
    Nack,
    NackOutcome,
)
from delivery.models import DEFAULT_INBOX, Delivery, DeliveryStatus, Subscription
from delivery.operations import (
    ack_events,
    extend_lease,
    find_inbox,
    inbox_deliveries,
    lease_events,
    nack_events,
)
from delivery.shown_status import shown_status
from ingestion.models import Event
from ingestion.presenting import describe_event
from organizations.authentication import caller_of
from organizations.scopes import Scope
from rest.lists import check_parameters, newest_first, read_page
from rest.parsing import decode, read_body
from rest.problems import Problem, invalid
from rest.rendering import format_time

BODY_LIMIT = 128 * 1024


class InboxView(APIView):
    """The events of an inbox, without taking them."""

    scopes = {"GET": Scope.INBOX_CONSUME}
    operations = inbox_openapi.LIST

    def get(self, request: Request) -> Response:
        page = read_page(request, "inbox", ("inbox", "status"))
        status = request.query_params.get("status", DeliveryStatus.PENDING.value)
        if status not in DeliveryStatus.values:
            raise invalid("/status", "invalid", f"status is one of {', '.join(DeliveryStatus.values)}.")
        inbox = _inbox_of(request)
        deliveries, cursor = newest_first(inbox_deliveries(inbox=inbox, status=DeliveryStatus(status)), page)
        return Response(InboxEventList(data=_shown(deliveries, inbox, timezone.now()), next_cursor=cursor))


class LeaseView(APIView):
    """Take events for a while."""

    scopes = {"POST": Scope.INBOX_CONSUME}
    operations = inbox_openapi.LEASE

    def post(self, request: Request) -> Response:
        check_parameters(request, ("inbox",))
        wanted = decode(read_body(request, limit=BODY_LIMIT), LeaseRequest)
        inbox = _inbox_of(request)
        now = timezone.now()
        lease = lease_events(inbox=inbox, limit=wanted.max, duration=timedelta(seconds=wanted.lease_seconds), now=now)
        if lease is None:
            return Response(LeaseShown(lease_id=None, expires_at=None, events=[]))
        events = _shown(lease.deliveries, inbox, now)
        return Response(LeaseShown(lease_id=lease.id, expires_at=format_time(lease.expires_at), events=events))


class AckView(APIView):
    """Acknowledge events: they leave the pending ones."""

    scopes = {"POST": Scope.INBOX_CONSUME}
    operations = inbox_openapi.ACK

    def post(self, request: Request) -> Response:
        check_parameters(request, ("inbox",))
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
    operations = inbox_openapi.NACK

    def post(self, request: Request) -> Response:
        check_parameters(request, ("inbox",))
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
    operations = inbox_openapi.EXTEND

    def post(self, request: Request) -> Response:
        check_parameters(request, ("inbox",))
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


def _shown(deliveries: Sequence[Delivery], inbox: Subscription, now: datetime) -> list[InboxEvent]:
    """The deliveries with their events, in the same order; retention may have taken an event before its delivery."""
    wanted: list[UUID] = [delivery.event_id for delivery in deliveries]
    events = Event.objects.for_organization(inbox.organization_id).in_bulk(wanted)
    return [
        InboxEvent(
            **describe_event(events[delivery.event_id]),
            status=shown_status(delivery, inbox, now=now),
            leases=delivery.attempts,
            leased_until=_leased_until(delivery, now),
        )
        for delivery in deliveries
        if delivery.event_id in events
    ]


def _leased_until(delivery: Delivery, now: datetime) -> str | None:
    ends = delivery.next_attempt_at if delivery.lease_id else None
    return format_time(ends) if ends and ends > now else None
