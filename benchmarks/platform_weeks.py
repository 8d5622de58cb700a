"""Old weeks of events and deliveries, made and dropped: reads `{"make": {"events", "weeks"}}` or
`{"drop": {"weeks", "begin_at", "seconds"}}`; writes the seconds that each drop took, by partition.

Runs in a process of its own under the platform's settings.
"""

import json
import sys
import time
from datetime import datetime, timedelta
from typing import Any

import django

# Past the longest period of any plan.
OLDEST_DAYS = 400
_MAKE = """
INSERT INTO ingestion_event (id, organization_id, type, source, subject, data_text, received_at, batch_id)
SELECT made.id, organizations.ids[1 + n %% cardinality(organizations.ids)], 'invoice.paid', '/billing', 'inv_' || n,
       json_build_object('number', n, 'amount', n * 7 %% 100000, 'customer', json_build_object('id', n %% 9973))::text,
       made.at, made.id
FROM generate_series(1, %(events)s) AS n
CROSS JOIN (SELECT array_agg(id ORDER BY id) FROM organizations_organization) AS organizations (ids)
CROSS JOIN LATERAL (SELECT %(first)s::timestamptz + n * %(step)s::interval AS at) AS moment
CROSS JOIN LATERAL (
    SELECT (lpad(to_hex((extract(epoch FROM moment.at) * 1000)::bigint), 12, '0') || '7' || left(md5(n::text), 3)
            || '8' || right(md5(n::text), 15))::uuid AS id, moment.at
) AS made
"""
_DELIVER = """
INSERT INTO delivery_delivery
    (id, organization_id, subscription_id, event_id, status, created_at, delivered_at, attempts)
SELECT event.id, event.organization_id, inbox.id, event.id, 'delivered', event.received_at, event.received_at, 1
FROM ingestion_event AS event JOIN delivery_subscription AS inbox ON inbox.organization_id = event.organization_id
WHERE event.id >= %(low)s AND event.id < %(high)s
"""


def main() -> None:
    django.setup()
    wanted = json.load(sys.stdin)
    result = _make(**wanted["make"]) if "make" in wanted else _drop(**wanted["drop"])
    json.dump(result, sys.stdout)


def _make(*, events: int, weeks: int) -> dict[str, Any]:
    """Fill so many weeks evenly."""
    from django.db import connection  # noqa: PLC0415 - the app registry must be ready
    from django.utils import timezone  # noqa: PLC0415

    from core.event_ids import lowest_id  # noqa: PLC0415
    from core.partitions.making import make_partitions  # noqa: PLC0415
    from core.partitions.weeks import WEEK, week_of  # noqa: PLC0415
    from delivery.operations import default_inboxes  # noqa: PLC0415
    from organizations.models import Organization  # noqa: PLC0415

    first = week_of(timezone.now() - timedelta(days=OLDEST_DAYS)) - WEEK * weeks
    default_inboxes(list(Organization.objects.values_list("pk", flat=True)), sleep=False)
    each = events // weeks
    with connection.cursor() as cursor:
        for week in (first + WEEK * number for number in range(weeks)):
            make_partitions(now=week)
            step = f"{WEEK.total_seconds() / (each + 2)} seconds"
            cursor.execute(_MAKE, {"events": each, "first": week, "step": step})
            cursor.execute(_DELIVER, {"low": lowest_id(week), "high": lowest_id(week + WEEK)})
        cursor.execute("ANALYZE")
    return {}


def _drop(*, weeks: int, begin_at: float, seconds: float) -> dict[str, float]:
    """Drop the oldest filled weeks of all tables, spread over `seconds` from the time `begin_at` on."""
    from django.utils import timezone  # noqa: PLC0415 - the app registry must be ready

    from core.partitions.drops import drop_partition, ended_partitions  # noqa: PLC0415
    from core.partitions.weeks import Partition  # noqa: PLC0415
    from delivery.operations.retention import deliveries_are_needed  # noqa: PLC0415
    from ingestion.operations.retention import events_are_needed  # noqa: PLC0415
    from lifecycle.retention.floors import find_floors  # noqa: PLC0415

    now: datetime = timezone.now()
    floors = find_floors(now=now)
    needed = {
        "ingestion_event": lambda one: events_are_needed(one, floors.events),
        "delivery_delivery": lambda one: deliveries_are_needed(one, floors.deliveries),
    }
    chosen: list[Partition] = [one for table in needed for one in ended_partitions(table, now=now)[:weeks]]
    took: dict[str, float] = {}
    for number, partition in enumerate(chosen):
        time.sleep(max(0.0, begin_at + seconds * number / len(chosen) - time.time()))
        begin = time.monotonic()
        if drop_partition(partition, is_needed=needed[partition.table]):
            took[partition.name] = time.monotonic() - begin
    return took


if __name__ == "__main__":
    main()
