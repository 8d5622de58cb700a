"""Makes events, or deliveries, whose tasks wait for a worker.

Reads `{"organization", "url", "events", "deliveries": bool}`; the organization gets one subscription, with that URL.
"""

import json
import secrets
import sys

import django

from benchmarks.streams import DATA, TYPE


def main() -> None:
    django.setup()
    from benchmarks.textbook.models import Delivery, Event, Organization, Subscription  # noqa: PLC0415
    from benchmarks.textbook.tasks import deliver, process_event  # noqa: PLC0415 - the app registry must be ready

    wanted = json.load(sys.stdin)
    organization = Organization.objects.get(name=wanted["organization"])
    subscription, _ = Subscription.objects.update_or_create(
        organization=organization, defaults={"url": wanted["url"], "secret": secrets.token_hex(16)}
    )
    data = json.loads(DATA)
    events = Event.objects.bulk_create(
        [Event(organization=organization, type=TYPE, data=data) for _ in range(wanted["events"])], batch_size=500
    )
    if not wanted["deliveries"]:
        for event in events:
            process_event.delay(str(event.pk))
        return
    deliveries = Delivery.objects.bulk_create(
        [Delivery(event=event, subscription=subscription) for event in events], batch_size=500
    )
    for delivery in deliveries:
        deliver.delay(delivery.pk)


if __name__ == "__main__":
    main()
