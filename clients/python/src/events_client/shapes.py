"""What the platform answers. Members that a newer platform adds are passed over; ids are UUIDs as text."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct, field

from events_client.errors import FieldError

T = TypeVar("T")


class Page(Struct, Generic[T], frozen=True):
    """One page of a list; `next_cursor` is null on the last one."""

    data: list[T]
    next_cursor: str | None


class Problem(Struct, frozen=True, kw_only=True):
    """An error as the platform tells it."""

    code: str
    status: int
    title: str = ""
    detail: str = ""
    errors: list[FieldError] = field(default_factory=list)
    request_id: str | None = None

    def __str__(self) -> str:
        return f"{self.code}: {'; '.join(map(str, self.errors)) or self.detail or self.title}"


class EventAccepted(Struct, frozen=True, kw_only=True):
    """The event is committed. A duplicate has the id and the time of the first event with its idempotency key."""

    id: str
    type: str
    status: str
    duplicate: bool
    received_at: datetime
    schema_errors: list[FieldError] = field(default_factory=list)


class BatchItem(Struct, frozen=True, kw_only=True):
    """What became of one event of a batch: `accepted`, `duplicate` or `rejected`."""

    index: int
    id: str | None
    status: str
    error: Problem | None = None


class BatchOutcome(Struct, frozen=True, kw_only=True):
    """What became of the events of a batch, in their order. Good ones are kept when others are bad."""

    accepted: int
    duplicates: int
    rejected: int
    results: list[BatchItem]


class RefusedEvent(Struct, frozen=True, kw_only=True):
    """An event, as the JSON text that was sent, and why the platform refused it."""

    event: bytes
    problem: Problem


class _WithData(Struct, kw_only=True, dict=True):
    """An event with its data: `raw_data` is its text as it was sent, `data` what Python makes of it."""

    id: str
    type: str
    raw_data: Raw = field(name="data")

    @cached_property
    def data(self) -> Any:
        return msgspec.json.decode(self.raw_data)


class Attempt(Struct, frozen=True, kw_only=True):
    """One request to a webhook, and what came of it."""

    number: int
    started_at: datetime
    duration_ms: int
    status_code: int | None
    error: str | None


class _DeliveryFields(Struct, kw_only=True):
    id: str
    subscription: str
    event_id: str
    event_type: str | None
    status: str
    held_reason: str | None
    next_attempt_at: datetime | None
    last_error: str | None
    created_at: datetime
    delivered_at: datetime | None


class Delivery(_DeliveryFields, kw_only=True):
    """An event on its way to a subscription; `attempts` counts them."""

    attempts: int


class DeliveryDetails(_DeliveryFields, kw_only=True):
    """The same with its latest attempts, oldest first."""

    attempts: list[Attempt]


class Event(_WithData, kw_only=True):
    """An event that the platform has."""

    source: str | None
    subject: str | None
    time: datetime | None
    idempotency_key: str | None
    received_at: datetime
    attributes: dict[str, Any] | None
    schema_errors: list[FieldError] | None
    status: str
    deliver_at: datetime | None = None


class EventDetails(Event, kw_only=True):
    """An event with its deliveries."""

    deliveries: list[DeliveryDetails]


class EventCancelled(Struct, frozen=True, kw_only=True):
    """The event will never be handed on."""

    id: str
    status: str
    deliver_at: datetime


class PortalLink(Struct, frozen=True, kw_only=True):
    """A link that is good once, until `expires_at`."""

    url: str
    expires_at: datetime


class InboxEvent(Event, kw_only=True):
    """An event in an inbox. `leases` counts how often it was leased: over 1, it may have been handled before."""

    leases: int
    leased_until: datetime | None


class Lease(Struct, frozen=True, kw_only=True):
    """The leased events, the longest waiting first; no events and no id when there is nothing to lease."""

    lease_id: str | None
    expires_at: datetime | None
    events: list[InboxEvent]


class LeaseExtended(Struct, frozen=True, kw_only=True):
    """The lease goes on, for `extended` events."""

    lease_id: str
    expires_at: datetime
    extended: int


class AckOutcome(Struct, frozen=True, kw_only=True):
    """What became of each event id. `stale` ones are not held by the lease any more, and stay in the inbox."""

    acknowledged: list[str]
    already_acknowledged: list[str]
    stale: list[str]
    unknown: list[str]


class NackOutcome(Struct, frozen=True, kw_only=True):
    """What became of each event id."""

    returned: list[str]
    already_acknowledged: list[str]
    stale: list[str]
    unknown: list[str]


class Subscription(Struct, kw_only=True):
    """A webhook or an inbox. `headers` have masked values."""

    id: str
    kind: str
    name: str
    url: str | None
    description: str
    event_types: list[str]
    filter: dict[str, Any] | None
    headers: dict[str, str]
    status: str
    disabled_reason: str | None
    created_at: datetime


class SubscriptionCreated(Subscription, kw_only=True):
    """A new subscription; a webhook with its secret."""

    secret: str | None = None


class Secret(Struct, frozen=True, kw_only=True):
    """The secret of a webhook, and until when the one before signs too."""

    secret: str
    previous_secret_expires_at: datetime | None


class TestResult(Struct, frozen=True, kw_only=True):
    """What came of a test of a webhook."""

    __test__ = False  # It is none of pytest's.

    event_id: str
    delivered: bool
    status_code: int | None
    duration_ms: int
    error: str | None
    detail: str


class Replay(Struct, frozen=True, kw_only=True):
    """A replay and its progress. After a dry run `id` and `status` are None."""

    id: str | None
    subscription: str
    status: str | None
    total: int
    looked_at: int
    created: int
    finished_at: datetime | None
    failure: str | None


class Job(Struct, frozen=True, kw_only=True):
    """A job and its progress. After a dry run `id` and `status` are None."""

    id: str | None
    kind: str
    subscription: str
    status: str | None
    total: int
    done: int
    delivered: int | None
    failed_again: int | None
    finished_at: datetime | None
    failure: str | None


class EventType(Struct, kw_only=True):
    """An event type: seen, described, or both. `schema` is JSON Schema or None."""

    name: str
    description: str
    schema: Any
    validation: str
    first_seen_at: datetime | None
    last_seen_at: datetime | None
    count: int


class Organization(Struct, frozen=True, kw_only=True):
    """The organization of the API key, with what its plan allows and what it uses."""

    id: str
    name: str
    slug: str
    plan: str
    suspended: bool
    limits: dict[str, Any]
    usage: dict[str, Any]
