"""Deliveries, event types, replays, jobs, links to the portal, the organization."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from events_client import shapes
from events_client.calls import C, Call, Resource, body_of, endpoint, listing, part, query_of
from events_client.encoding import encode


class Deliveries(Resource[C]):
    """Events on their way."""

    @endpoint
    def get(self, delivery_id: str) -> Call[shapes.DeliveryDetails]:
        """One delivery with its attempts."""
        return Call(method="GET", path=f"/api/v1/deliveries/{part(delivery_id)}", answer=shapes.DeliveryDetails)

    @endpoint
    def retry(self, delivery_id: str) -> Call[shapes.Delivery]:
        """Make it due now, whatever its status."""
        path = f"/api/v1/deliveries/{part(delivery_id)}/retry"
        return Call(method="POST", path=path, answer=shapes.Delivery, repeatable=False)

    @endpoint
    def skip(self, delivery_id: str) -> Call[shapes.Delivery]:
        """Have what waits behind it, in the order of its key, go on without it."""
        path = f"/api/v1/deliveries/{part(delivery_id)}/skip"
        return Call(method="POST", path=path, answer=shapes.Delivery, repeatable=False)


class EventTypes(Resource[C]):
    """What types of events there are, and their schemas."""

    @listing
    def list(self, *, name: str | None = None, page_size: int = 100) -> Call[shapes.Page[shapes.EventType]]:
        """Event types; `name` may end with `*`."""
        query = query_of(name=name, limit=page_size)
        return Call(method="GET", path="/api/v1/event-types", query=query, answer=shapes.Page[shapes.EventType])

    @endpoint
    def get(self, name: str) -> Call[shapes.EventType]:
        """One event type."""
        return Call(method="GET", path=_type_path(name), answer=shapes.EventType)

    @endpoint
    def create(self, /, name: str, **members: Any) -> Call[shapes.EventType]:
        """Describe an event type before its first event: `description`, `schema`, `validation`."""
        body = encode({"name": name, **members})
        return Call(method="POST", path="/api/v1/event-types", body=body, answer=shapes.EventType, repeatable=False)

    @endpoint
    def update(self, /, name: str, **members: Any) -> Call[shapes.EventType]:
        """Set `description`, `schema` or `validation`; the rest stays."""
        return Call(method="PATCH", path=_type_path(name), body=encode(members), answer=shapes.EventType)


class Replays(Resource[C]):
    """Delivering old events again."""

    @endpoint
    def create(
        self,
        subscription: str,
        *,
        received_after: datetime | str,
        received_before: datetime | str,
        event_types: Sequence[str] | None = None,
        only_undelivered: bool = False,
        dry_run: bool = False,
    ) -> Call[shapes.Replay]:
        """Start a replay; a dry run only counts."""
        body = body_of(
            subscription=subscription,
            received_after=received_after,
            received_before=received_before,
            event_types=event_types,
            only_undelivered=only_undelivered,
            dry_run=dry_run,
        )
        return Call(method="POST", path="/api/v1/replays", body=body, answer=shapes.Replay, repeatable=False)

    @endpoint
    def get(self, replay_id: str) -> Call[shapes.Replay]:
        """One replay and its progress."""
        return Call(method="GET", path=f"/api/v1/replays/{part(replay_id)}", answer=shapes.Replay)

    @endpoint
    def cancel(self, replay_id: str) -> Call[shapes.Replay]:
        """Stop it; the deliveries that it made stay."""
        return Call(method="POST", path=f"/api/v1/replays/{part(replay_id)}/cancel", answer=shapes.Replay)


class Jobs(Resource[C]):
    """What goes on in the background."""

    @endpoint
    def get(self, job_id: str) -> Call[shapes.Job]:
        """One job and its progress."""
        return Call(method="GET", path=f"/api/v1/jobs/{part(job_id)}", answer=shapes.Job)

    @endpoint
    def cancel(self, job_id: str) -> Call[shapes.Job]:
        """Stop it; what it has done stays."""
        return Call(method="POST", path=f"/api/v1/jobs/{part(job_id)}/cancel", answer=shapes.Job)


class PortalLinks(Resource[C]):
    """Pages on which your own customers see, and manage, their subscriptions."""

    @endpoint
    def create(
        self,
        *,
        tag: str | None = None,
        subscriptions: Sequence[str] | None = None,
        permissions: Sequence[str] | None = None,
        expires_in: int | None = None,
    ) -> Call[shapes.PortalLink]:
        """A link that is good once, for `expires_in` seconds, to the subscriptions with the tag, or to these.

        `permissions` are `read`, which is meant when they are left out, and `manage`.
        """
        body = body_of(tag=tag, subscriptions=subscriptions, permissions=permissions, expires_in=expires_in)
        return Call(method="POST", path="/api/v1/portal-links", body=body, answer=shapes.PortalLink, repeatable=False)


class Organizations(Resource[C]):
    """The organization of the API key."""

    @endpoint
    def get(self) -> Call[shapes.Organization]:
        """Its plan, limits and usage."""
        return Call(method="GET", path="/api/v1/organization", answer=shapes.Organization)


def _type_path(name: str) -> str:
    return f"/api/v1/event-types/{name}"
