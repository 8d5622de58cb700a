"""What was signed for an attempt, so that whoever doubts a signature can check it."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from core.secrets import decrypt_secret
from delivery.models import Subscription, is_open_until
from delivery.webhooks.signing import secret_key, sign
from delivery.webhooks.webhook_requests import body_of
from ingestion.api.presenting import Annotations
from ingestion.models import Event


@dataclass(frozen=True, kw_only=True)
class Signed:
    """`signature` is over `message_id`, `timestamp` and the body, joined by full stops.

    `made_with` is `current` or `previous`, by the secrets that the subscription has now, or empty: it has another one
    since, or the body is not what it was.
    """

    message_id: str
    timestamp: str
    signature: str
    made_with: str


def webhook_body(event: Event) -> bytes:
    """The same in every attempt."""
    annotations = msgspec.json.decode(event.annotations, type=Annotations) if event.annotations else Annotations()
    attributes = bytes(annotations.attributes).decode()
    return body_of(
        event_id=event.pk,
        event_type=event.type,
        received_at=event.received_at,
        data=event.data,
        attributes=None if attributes == "null" else attributes,
    )


def what_was_signed(
    headers: dict[str, str] | None, *, event_id: UUID, body: bytes, subscription: Subscription, now: datetime
) -> Signed | None:
    """By the headers of an attempt as it was sent. None for want of a record."""
    sent = {name.lower(): value for name, value in (headers or {}).items()}
    timestamp, signature = sent.get("webhook-timestamp", ""), sent.get("webhook-signature", "")
    if not timestamp.isdigit() or not signature:
        return None
    secrets = {"current": subscription.secret}
    if is_open_until(subscription.previous_secret_until, now):
        secrets["previous"] = subscription.previous_secret
    made_with = [
        name
        for name, sealed in secrets.items()
        if sealed
        and sign([secret_key(decrypt_secret(sealed))], str(event_id), int(timestamp), body) in signature.split(" ")
    ]
    return Signed(
        message_id=str(event_id),
        timestamp=timestamp,
        signature=signature,
        made_with=made_with[0] if made_with else "",
    )
