"""An event that a person sends: by the same intake as the API's, with an entry in the audit log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

import msgspec
from django.db import transaction

from core.ports import SyncDatabase, run_now
from core.problems import Problem
from core.times import format_time
from ingestion.formats.decoding import decode_event
from ingestion.intake.direct import direct_ports
from ingestion.intake.pipeline import IntakeRequest, receive_event
from ingestion.intake.storing import Accepted, Incoming, WriteOutcome, store
from ingestion.intake.validating import check_events
from ingestion.models import Event
from ingestion.schemas.catalogue import schema_catalogue
from ingestion.schemas.checking import schema_checks
from ingestion.wakeup import wake_processing
from organizations.audit import Actor, record
from organizations.keys.authentication import Submitter
from organizations.models import Organization


@dataclass(frozen=True, kw_only=True)
class EventToSend:
    """As a person gives it: `data` is JSON text, and what is empty is left out."""

    type: str
    data: str
    source: str = ""
    subject: str = ""
    idempotency_key: str = ""
    deliver_at: datetime | None = None

    def body(self) -> bytes:
        """That of a request with this event."""
        wanted: dict[str, object] = {"type": self.type, "data": msgspec.Raw(self.data.encode())}
        for name in ("source", "subject", "idempotency_key"):
            if text := getattr(self, name):
                wanted[name] = text
        if self.deliver_at is not None:
            wanted["deliver_at"] = format_time(self.deliver_at)
        return msgspec.json.encode(wanted)


class Sent(msgspec.Struct, frozen=True):
    """`duplicate`: an earlier event with the same idempotency key was the same, and nothing new was stored."""

    id: UUID
    duplicate: bool


def send_event(*, organization: Organization, wanted: EventToSend, actor: Actor, request_id: str) -> Sent:
    """Through all stages that the API's events go through. Raises the Problems of the API."""
    if organization.suspended_at is not None:
        raise Problem("organization_suspended")
    request = IntakeRequest(
        caller=Submitter(
            organization_id=organization.pk, events_per_minute=organization.limits.events_per_minute, key_prefix=""
        ),
        request_id=request_id,
        headers={"content-type": "application/json"},
        body=wanted.body(),
    )
    ports = direct_ports(partial(_store_and_record, organization, actor))
    result = run_now(receive_event(ports, request)).result
    if isinstance(result, Problem):
        raise result
    return msgspec.json.decode(result.body, type=Sent)


def find_misfit(*, organization: Organization, event_type: str, data: str) -> Problem | None:
    """Why the schema of its type would refuse such an event."""
    event = decode_event(EventToSend(type=event_type, data=data).body())
    run_now(schema_catalogue.refresh(SyncDatabase()))
    (verdict,) = run_now(check_events(schema_checks.check_directly, organization.pk, [event]))
    return verdict.problem if verdict else None


async def _store_and_record(organization: Organization, actor: Actor, events: Sequence[Incoming]) -> list[WriteOutcome]:
    """Neither is there without the other."""
    with transaction.atomic():
        outcomes = await store(SyncDatabase(), events)
        for event, outcome in zip(events, outcomes, strict=True):
            if isinstance(outcome, Accepted) and not outcome.duplicate:
                target = Event(pk=outcome.id, type=event.event.type)
                record(actor=actor, action="event.sent", target=target, organization=organization)
    wake_processing()
    return outcomes
