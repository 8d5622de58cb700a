"""The request of a webhook, by Standard Webhooks 1.0: what is sent and how it is signed. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from delivery.sending import WebhookRequest
from delivery.signing import sign
from rest.rendering import format_time

USER_AGENT = "EventsPlatform/1"


def build_request(
    *,
    url: str,
    secrets: Sequence[bytes],
    headers: Mapping[str, str],
    event_id: UUID,
    event_type: str,
    received_at: datetime,
    data: str,
    now: datetime,
) -> WebhookRequest:
    """One attempt, made at `now`, to send an event whose `data` is JSON text; each of `secrets` signs it.

    Body and `webhook-id` are the same in every attempt; the time and thus the signature are not. `headers` are the
    subscription's own, which passed `delivery.header_rules`; the platform's win even so.
    """
    body = b'{"id":"%s","type":%s,"timestamp":"%s","data":%s}' % (
        str(event_id).encode(),
        msgspec.json.encode(event_type),
        format_time(received_at).encode(),
        data.encode(),
    )
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
        },
        body=body,
    )
