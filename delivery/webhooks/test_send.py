"""Try a webhook out."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from uuid_utils.compat import uuid7

from core import bounds
from core.postgresql.lending import give_back
from core.problems import Problem
from core.secrets import decrypt_secret
from delivery.endpoints.sealed_auth import auth_of
from delivery.endpoints.sealed_headers import open_headers
from delivery.models import Subscription
from delivery.operations import close_circuit, require_webhook
from delivery.webhooks.sending import AttemptResult, WebhookSender
from delivery.webhooks.signing import SigningKey, secret_key
from delivery.webhooks.webhook_requests import WebhookRequest, build_request
from organizations.audit import Actor, record
from rest.doors.shares import Budget, TooMuchError
from rest.doors.threads import without_place

# In one process. Each takes a thread of it for as long as the endpoint likes, up to the webhook's time-out.
under_way = Budget(total=bounds.MAX_WEBHOOK_TESTS, share=bounds.MAX_WEBHOOK_TESTS_OF_ONE)
_RETRY_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class TestOutcome:
    """The id of the event that was made for the test, which is stored nowhere, the body that was sent, and what came of
    its one attempt.
    """

    __test__ = False  # It is none of pytest's.

    event_id: UUID
    started_at: datetime
    body: bytes
    result: AttemptResult


def send_test(
    *,
    subscription: Subscription,
    event_type: str,
    data: str,
    actor: Actor,
    now: datetime,
    made_from: UUID | None = None,
) -> TestOutcome:
    """Send an event of this type and data (JSON text) to the webhook now, whatever its status, and wait for the answer.

    It takes up to the webhook's time-out, for which its request gives its place in Django to the next one. An endpoint
    that takes it is well again: what waited for it is sent. Call it outside of a transaction and of an event loop.
    Raises Problem 409 for an inbox, 403 while its organization is suspended, 429 while too many are under way. The
    audit log names the event that it was `made_from`.
    """
    require_webhook(subscription)
    if subscription.organization.suspended_at is not None:
        raise Problem("organization_suspended")
    try:
        with without_place(under_way, subscription.organization_id):
            return _send_test(
                subscription=subscription,
                event_type=event_type,
                data=data,
                actor=actor,
                now=now,
                made_from=made_from,
            )
    except TooMuchError as error:
        raise Problem(
            "rate_limited",
            "Other tests are still waiting for their endpoints. Wait for them, then try again.",
            headers={"Retry-After": str(_RETRY_SECONDS)},
        ) from error


def _send_test(
    *,
    subscription: Subscription,
    event_type: str,
    data: str,
    actor: Actor,
    now: datetime,
    made_from: UUID | None,
) -> TestOutcome:
    event_id = uuid7()
    request = build_request(
        url=subscription.url,
        secrets=_signing_keys(subscription, now),
        headers=open_headers(subscription.headers),
        event_id=event_id,
        event_type=event_type,
        received_at=now,
        data=data,
        now=now,
        timeout_seconds=subscription.timeout_seconds,
        auth=auth_of(subscription.auth),
    )
    with transaction.atomic():
        record(
            actor=actor,
            action="subscription.tested",
            target=subscription,
            organization=subscription.organization,
            changes={"made_from": str(made_from)} if made_from else None,
        )
    give_back()
    result = asyncio.run(_send(request))
    if result.delivered:
        close_circuit(subscription)
    return TestOutcome(event_id=event_id, started_at=now, body=request.body, result=result)


async def _send(request: WebhookRequest) -> AttemptResult:
    async with WebhookSender.from_settings() as sender:
        return await sender.send(request)


def _signing_keys(subscription: Subscription, now: datetime) -> list[SigningKey]:
    tokens = [subscription.secret]
    if subscription.previous_secret_until and subscription.previous_secret_until > now:
        tokens.append(subscription.previous_secret)
    return [secret_key(decrypt_secret(token)) for token in tokens]
