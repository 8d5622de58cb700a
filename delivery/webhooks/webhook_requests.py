"""The request of a webhook, by Standard Webhooks 1.0: what is sent and how it is signed. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from core.times import format_time
from core.tracing import TraceContext
from delivery.endpoints.credentials import Auth
from delivery.webhooks.signing import SigningKey, sign

USER_AGENT = "EventsPlatform/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookRequest:
    """What to POST. `headers` hold the signature and the content type; `body` goes out as it is.

    `timeout_seconds` is None for that of the sender, `auth` for an endpoint that asks for none.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes
    timeout_seconds: float | None = None
    auth: Auth | None = None


def body_of(
    *, event_id: UUID, event_type: str, received_at: datetime, data: str, attributes: str | None = None
) -> bytes:
    """What every attempt to send the event sends. `data` and `attributes` are JSON texts."""
    return b'{"id":"%s","type":%s,"timestamp":"%s","data":%s%s}' % (
        str(event_id).encode(),
        msgspec.json.encode(event_type),
        format_time(received_at).encode(),
        data.encode(),
        b',"attributes":' + attributes.encode() if attributes else b"",
    )


def build_request(
    *,
    url: str,
    secrets: Sequence[SigningKey],
    headers: Mapping[str, str],
    event_id: UUID,
    event_type: str,
    received_at: datetime,
    data: str,
    attributes: str | None = None,
    sequence: int | None = None,
    now: datetime,
    context: TraceContext | None = None,
    timeout_seconds: float | None = None,
    auth: Auth | None = None,
) -> WebhookRequest:
    """One attempt, made at `now`, to send an event whose `data` is JSON text; each of `secrets` signs it.

    `attributes`, JSON text too, are those of a CloudEvent, such as `datacontenttype`: the body has them as inboxes do.
    `sequence` is the number of the delivery in the order of its key, where there is one.

    Body and `webhook-id` are the same in every attempt; the time and thus the signature are not. `headers` are the
    subscription's own, which passed `delivery.endpoints.header_rules`; the platform's win even so. `context` is sent
    on.
    """
    body = body_of(event_id=event_id, event_type=event_type, received_at=received_at, data=data, attributes=attributes)
    timestamp = int(now.timestamp())
    return WebhookRequest(
        url=url,
        headers={
            **headers,
            "content-type": "application/json",
            "user-agent": USER_AGENT,
            "webhook-id": str(event_id),
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(secrets, str(event_id), timestamp, body),
            **({"webhook-sequence": str(sequence)} if sequence is not None else {}),
            **(_trace_headers(context, headers) if context else {}),
        },
        body=body,
        timeout_seconds=timeout_seconds,
        auth=auth,
    )


def _trace_headers(context: TraceContext, headers: Mapping[str, str]) -> Mapping[str, str]:
    """None for a subscription with a trace of its own: two are as good as none (Trace Context, 3.2.2)."""
    return {} if any(name.lower() == "traceparent" for name in headers) else context.headers()
