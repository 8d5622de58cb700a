"""Accepts events as the intake does under load: reads `{"organization", "events", "subjects", "process": bool}`.

The subjects take turns. Each statement commits 20 to 100 events, with one outbox entry; with `process` they get their
deliveries, too. Runs in a process of its own under the platform's settings.
"""

import json
import random
import sys
from itertools import cycle, islice

import django

from benchmarks.streams import DATA, TYPE

_FLUSH = (20, 100)


def main() -> None:
    django.setup()
    from core.ports import SyncDatabase, run_now  # noqa: PLC0415
    from ingestion.formats.decoding import DecodedEvent  # noqa: PLC0415 - the app registry must be ready
    from ingestion.intake.storing import Incoming, store  # noqa: PLC0415
    from ingestion.operations import process_outbox  # noqa: PLC0415
    from organizations.models import Organization  # noqa: PLC0415

    wanted = json.load(sys.stdin)
    organization = Organization.objects.get(slug=wanted["organization"])
    events = cycle(
        DecodedEvent(type=TYPE, data=DATA, source="/billing", subject=f"inv-{number}", time=None, idempotency_key=None)
        for number in range(wanted["subjects"])
    )
    chance, left = random.Random(1), wanted["events"]
    while left:
        size = min(left, chance.randint(*_FLUSH))
        run_now(store(SyncDatabase(), [Incoming(organization.pk, event) for event in islice(events, size)]))
        left -= size
    while wanted["process"] and process_outbox():
        pass


if __name__ == "__main__":
    main()
