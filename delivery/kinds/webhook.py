"""Webhooks: each event is sent to a URL, signed."""

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from core.secrets import decrypt_secret
from core.tracing import TraceContext
from delivery.endpoints.sealed_auth import auth_of
from delivery.endpoints.sealed_headers import open_value
from delivery.kinds.rules import KindRules
from delivery.wakeup import wake_sending
from delivery.webhooks.signing import SigningKey, generate_secret, secret_key
from delivery.webhooks.webhook_requests import build_request

if TYPE_CHECKING:
    from delivery.webhooks.claiming import Claimed
    from delivery.webhooks.sending import AttemptResult, WebhookSender

# A value has up to 4 KiB: at most some 20 MB.
_header = lru_cache(maxsize=2_000)(open_value)


class Webhook(KindRules):
    """By Standard Webhooks 1.0."""

    name = "webhook"
    own_fields = (
        "url", "headers", "timeout_seconds", "retry_schedule", "rate_limit", "max_in_flight", "signature", "auth",
    )  # fmt: skip
    is_sent = True
    plural = "Webhooks"
    explanation = "Each event is signed and sent to the URL, and retried until it is accepted or the retries run out."

    def new_secret(self, signature: str | None) -> str | None:
        return generate_secret(signature)

    def wake(self) -> None:
        wake_sending()

    async def send(
        self, claimed: "Claimed", *, now: datetime, context: TraceContext | None, webhooks: "WebhookSender"
    ) -> "AttemptResult":
        if claimed.type is None or claimed.received_at is None or claimed.data is None:
            raise ValueError("the event of this delivery is gone")
        request = build_request(
            url=claimed.url,
            secrets=[_key(token) for token in (claimed.secret, claimed.previous_secret) if token],
            headers={name: _header(stored) for name, stored in claimed.headers.items()},
            event_id=claimed.event_id,
            event_type=claimed.type,
            received_at=claimed.received_at,
            data=claimed.data,
            attributes=claimed.attributes,
            sequence=claimed.sequence,
            now=now,
            context=context,
            timeout_seconds=claimed.timeout_seconds,
            auth=auth_of(claimed.auth),
        )
        return await webhooks.send(request)


@lru_cache(maxsize=10_000)
def _key(token: str) -> SigningKey:
    return secret_key(decrypt_secret(token))
