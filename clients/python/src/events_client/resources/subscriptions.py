"""Who gets which events, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from events_client import shapes
from events_client.calls import C, Call, Resource, body_of, endpoint, listing, part, query_of
from events_client.encoding import encode


class Subscriptions(Resource[C]):
    """Who gets which events."""

    @listing
    def list(
        self, *, kind: str | None = None, status: str | None = None, page_size: int = 100
    ) -> Call[shapes.Page[shapes.Subscription]]:
        """Subscriptions, newest first."""
        query = query_of(kind=kind, status=status, limit=page_size)
        return Call(method="GET", path="/api/v1/subscriptions", query=query, answer=shapes.Page[shapes.Subscription])

    @endpoint
    def get(self, subscription_id: str) -> Call[shapes.Subscription]:
        """One subscription."""
        return self._of(subscription_id, "GET", "", shapes.Subscription)

    @endpoint
    def create_webhook(
        self,
        url: str,
        *,
        event_types: Sequence[str] | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the name of the member
        name: str | None = None,
        description: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Call[shapes.SubscriptionCreated]:
        """A new webhook; the answer has the secret that signs what it gets."""
        body = body_of(
            kind="webhook",
            url=url,
            event_types=event_types,
            filter=filter,
            name=name,
            description=description,
            headers=headers,
        )
        return self._create(body)

    @endpoint
    def create_inbox(
        self,
        name: str,
        *,
        event_types: Sequence[str] | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002 - the name of the member
        description: str | None = None,
        max_leases: int | None = None,
    ) -> Call[shapes.SubscriptionCreated]:
        """A new inbox."""
        body = body_of(
            kind="inbox",
            name=name,
            event_types=event_types,
            filter=filter,
            description=description,
            max_leases=max_leases,
        )
        return self._create(body)

    @endpoint
    def update(self, /, subscription_id: str, **members: Any) -> Call[shapes.Subscription]:
        """Set the members that are given, as the API names them; the rest stays. None is a value here."""
        path = f"/api/v1/subscriptions/{part(subscription_id)}"
        return Call(method="PATCH", path=path, body=encode(members), answer=shapes.Subscription)

    @endpoint
    def delete(self, subscription_id: str) -> Call[None]:
        """Nothing more is delivered to it."""
        path = f"/api/v1/subscriptions/{part(subscription_id)}"
        return Call(method="DELETE", path=path, answer=type(None))

    @endpoint
    def pause(self, subscription_id: str) -> Call[shapes.Subscription]:
        """Hold its deliveries until it is resumed."""
        return self._of(subscription_id, "POST", "/pause", shapes.Subscription)

    @endpoint
    def resume(self, subscription_id: str) -> Call[shapes.Subscription]:
        """Deliver what was held."""
        return self._of(subscription_id, "POST", "/resume", shapes.Subscription)

    @endpoint
    def secret(self, subscription_id: str) -> Call[shapes.Secret]:
        """The secret that signs what a webhook gets."""
        return self._of(subscription_id, "GET", "/secret", shapes.Secret)

    @endpoint
    def rotate_secret(self, subscription_id: str, *, overlap_seconds: int = 86_400) -> Call[shapes.Secret]:
        """A new secret; the previous one signs beside it for `overlap_seconds`."""
        path = f"/api/v1/subscriptions/{part(subscription_id)}/rotate-secret"
        body = body_of(overlap_seconds=overlap_seconds)
        return Call(method="POST", path=path, body=body, answer=shapes.Secret, repeatable=False)

    @endpoint
    def test(self, subscription_id: str) -> Call[shapes.TestResult]:
        """Send one event of the type `webhook.test` to a webhook, and wait for what comes of it."""
        path = f"/api/v1/subscriptions/{part(subscription_id)}/test"
        return Call(method="POST", path=path, answer=shapes.TestResult, repeatable=False)

    @listing
    def deliveries(
        self, subscription_id: str, *, status: str | None = None, page_size: int = 100
    ) -> Call[shapes.Page[shapes.Delivery]]:
        """Its deliveries, those of the newest events first."""
        return Call(
            method="GET",
            path=f"/api/v1/subscriptions/{part(subscription_id)}/deliveries",
            query=query_of(status=status, limit=page_size),
            answer=shapes.Page[shapes.Delivery],
        )

    @endpoint
    def retry_dead_letters(
        self,
        subscription_id: str,
        *,
        event_types: Sequence[str] | None = None,
        error: str | None = None,
        received_after: datetime | str | None = None,
        received_before: datetime | str | None = None,
        dry_run: bool = False,
    ) -> Call[shapes.Job]:
        """Start a job that makes its dead letters due at once; all of them without a filter."""
        body = body_of(
            event_types=event_types,
            error=error,
            received_after=received_after,
            received_before=received_before,
            dry_run=dry_run,
        )
        path = f"/api/v1/subscriptions/{part(subscription_id)}/dead-letters/retry"
        return Call(method="POST", path=path, body=body, answer=shapes.Job, repeatable=False)

    def _create(self, body: bytes) -> Call[shapes.SubscriptionCreated]:
        return Call(
            method="POST",
            path="/api/v1/subscriptions",
            body=body,
            answer=shapes.SubscriptionCreated,
            repeatable=False,
        )

    def _of(self, subscription_id: str, method: Literal["GET", "POST"], action: str, answer: type[Any]) -> Call[Any]:
        return Call(method=method, path=f"/api/v1/subscriptions/{part(subscription_id)}{action}", answer=answer)
