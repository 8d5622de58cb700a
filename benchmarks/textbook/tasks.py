import hashlib
import hmac
import json
from typing import Any

import urllib3
from celery import shared_task
from django.db.models import F
from django.utils import timezone

from benchmarks.textbook.models import Attempt, Delivery, Event, Subscription

# Keeps its connections, which `requests.post` would not.
http = urllib3.PoolManager()


@shared_task
def process_event(event_id: str) -> None:
    """One delivery for each subscription of the event's organization."""
    event = Event.objects.select_related("organization").get(pk=event_id)
    for subscription in Subscription.objects.filter(organization=event.organization):
        delivery = Delivery.objects.create(event=event, subscription=subscription)
        deliver.delay(delivery.pk)


@shared_task(bind=True, max_retries=8)
def deliver(self: Any, delivery_id: int) -> None:
    delivery = Delivery.objects.select_related("event", "subscription").get(pk=delivery_id)
    started_at = timezone.now()
    status, error = _post(delivery)
    Attempt.objects.create(delivery=delivery, started_at=started_at, status_code=status, error=error[:200])
    delivered = status is not None and 200 <= status < 300
    Delivery.objects.filter(pk=delivery_id).update(
        status="delivered" if delivered else "retrying",
        attempts=F("attempts") + 1,
        delivered_at=timezone.now() if delivered else None,
    )
    if not delivered:
        raise self.retry(countdown=60)


def _post(delivery: Delivery) -> tuple[int | None, str]:
    """The status of the answer, or what went wrong."""
    event, secret = delivery.event, delivery.subscription.secret
    body = json.dumps({"id": str(event.pk), "type": event.type, "data": event.data}).encode()
    headers = {
        "Content-Type": "application/json",
        "Webhook-Id": str(event.pk),
        "Webhook-Signature": hmac.digest(secret.encode(), body, hashlib.sha256).hex(),
    }
    try:
        answer = http.request("POST", delivery.subscription.url, body=body, headers=headers, timeout=15, retries=False)
    except urllib3.exceptions.HTTPError as error:
        return None, str(error)
    return answer.status, ""
