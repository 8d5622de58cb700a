"""What PostgreSQL, Redis and the broker know, as metrics: one function a part, each a few cheap, bounded queries."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from celery import current_app
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily

from core.broker.wakeup import queue_length
from core.event_ids import time_of
from core.partitions.weeks import WEEK, week_of
from delivery.kinds import IS_SENT
from delivery.models import SubscriptionKind, SubscriptionStatus
from delivery.webhooks.claiming import NOT_SUSPENDED, NOT_TAKEN
from observability.schema_version import OURS
from observability.signs_of_life import last_beat

Families = Iterable[GaugeMetricFamily]
# Nobody needs to know by how much a backlog is beyond this, and counting it would cost.
MOST_COUNTED = 10_000

_OUTBOX = """
SELECT count(*), greatest(extract(epoch FROM clock_timestamp() - min(created_at)), 0)
FROM (SELECT created_at FROM ingestion_outboxentry ORDER BY created_at LIMIT %s) AS entry
"""
_DUE = f"""
SELECT count(*), extract(epoch FROM now() - min(next_attempt_at)) FROM (
    SELECT due.next_attempt_at FROM delivery_subscription AS subscription CROSS JOIN LATERAL (
        SELECT next_attempt_at FROM delivery_delivery
        WHERE subscription_id = subscription.id AND next_attempt_at <= now() AND {NOT_TAKEN}
        ORDER BY next_attempt_at LIMIT %s
    ) AS due
    WHERE {IS_SENT} AND subscription.status = 'active' AND {NOT_SUSPENDED}
      AND (subscription.circuit_open_until IS NULL OR subscription.circuit_open_until <= now())
    LIMIT %s
) AS due
"""  # noqa: S608 - no input
_IN_INBOXES = f"""
SELECT count(*), extract(epoch FROM now() - min(next_attempt_at)) FROM (
    SELECT due.next_attempt_at FROM delivery_subscription AS subscription CROSS JOIN LATERAL (
        SELECT next_attempt_at FROM delivery_delivery
        WHERE subscription_id = subscription.id AND next_attempt_at <= now() ORDER BY next_attempt_at LIMIT %s
    ) AS due
    WHERE NOT ({IS_SENT}) AND subscription.status = 'active'
    LIMIT %s
) AS due
"""  # noqa: S608 - no input
_SUBSCRIPTIONS = """
SELECT kind, status, count(*), count(*) FILTER (WHERE circuit_open_until > now())
FROM delivery_subscription GROUP BY kind, status
"""
_TABLES = """
SELECT coalesce(parent.relname, child.relname), sum(pg_total_relation_size(child.oid)), count(parent.oid),
       max(substring(pg_get_expr(child.relpartbound, 0) from 'TO [(]''([0-9a-f-]{36})''[)]'))
FROM pg_class AS child
LEFT JOIN pg_inherits ON pg_inherits.inhrelid = child.oid
LEFT JOIN pg_class AS parent ON parent.oid = pg_inherits.inhparent
WHERE child.relkind = 'r' AND child.relnamespace = current_schema()::regnamespace
GROUP BY 1
"""


def outbox_backlog() -> tuple[int, float]:
    """Batches of events that wait to be processed, up to MOST_COUNTED, and for how many seconds the oldest has."""
    count, age = _rows(_OUTBOX, [MOST_COUNTED])[0]
    return int(count), float(age or 0)


def inbox_backlog() -> tuple[int, float]:
    """Deliveries to inboxes that could be leased now, likewise."""
    return _count_and_age(_IN_INBOXES)


def due_backlog() -> tuple[int, float]:
    """Webhook deliveries that could be sent now, likewise."""
    return _count_and_age(_DUE)


def _count_and_age(statement: str) -> tuple[int, float]:
    count, age = _rows(statement, [MOST_COUNTED, MOST_COUNTED])[0]
    if count >= MOST_COUNTED:
        # The bound may hide the oldest: one of each subscription is enough for that.
        age = _rows(statement, [1, None])[0][1]
    return int(count), float(age or 0)


def outbox() -> Families:
    count, age = outbox_backlog()
    yield _gauge("events_outbox_oldest_age_seconds", "Age of the oldest batch of events waiting to be processed.", age)
    yield _gauge("events_outbox_entries", f"Batches of events waiting to be processed, up to {MOST_COUNTED}.", count)


def due_deliveries() -> Families:
    count, age = due_backlog()
    yield _gauge(
        "events_deliveries_due",
        f"Webhook deliveries that could be sent now, up to {MOST_COUNTED}; excluding those that are held.",
        count,
    )
    yield _gauge("events_deliveries_oldest_due_age_seconds", "How long the oldest of them has been due.", age)


def oldest_due_seconds() -> float:
    """How long the oldest webhook delivery that could be sent now has been due; 0 if there is none."""
    return float(_rows(_DUE, [1, None])[0][1] or 0)


def subscriptions() -> Families:
    found = {(kind, status): (count, opened) for kind, status, count, opened in _rows(_SUBSCRIPTIONS)}
    family = GaugeMetricFamily("events_subscriptions", "Subscriptions by kind and state.", labels=["kind", "status"])
    for kind in SubscriptionKind.values:
        for status in SubscriptionStatus.values:
            if status != SubscriptionStatus.DELETED:
                family.add_metric([kind, status], found.get((kind, status), (0, 0))[0])
    yield family
    opened = sum(opened for (_, status), (_, opened) in found.items() if status == SubscriptionStatus.ACTIVE)
    yield _gauge(
        "events_circuits_open",
        "Active subscriptions whose circuit is open: the endpoint fails and is only probed.",
        opened,
    )


def failures() -> Families:
    family = GaugeMetricFamily(
        "events_processing_failures",
        f"Events that could not be processed, up to {MOST_COUNTED}: to be tried again, or given up.",
        labels=["state"],
    )
    for state, condition in (("retrying", "IS NOT NULL"), ("given_up", "IS NULL")):
        family.add_metric([state], _number(
            f"SELECT count(*) FROM (SELECT FROM ingestion_processingfailure WHERE next_attempt_at {condition}"  # noqa: S608
            f" LIMIT {MOST_COUNTED}) AS failure"
        ))  # fmt: skip
    yield family


def exports() -> Families:
    running = _number("SELECT count(*) FROM console_export WHERE status = 'running'")
    yield _gauge("events_exports_running", "Exports of event lists that are being written.", running)


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """A table with its partitions added up; `weeks_ahead` only where there are some."""

    name: str
    size: int
    partitions: int
    weeks_ahead: int


def table_facts() -> list[TableFacts]:
    """Of every table, the largest first."""
    facts = [
        TableFacts(name=name, size=int(size), partitions=count, weeks_ahead=weeks_ahead(end))
        for name, size, count, end in _rows(_TABLES)
    ]
    return sorted(facts, key=lambda table: -table.size)


def tables() -> Families:
    """By base table, its partitions added up; whatever is not ours is one."""
    rows = _rows(_TABLES)
    ours = {model._meta.db_table for config in map(apps.get_app_config, OURS) for model in config.get_models()}
    sizes = dict.fromkeys([*sorted(ours), "other"], 0)
    for name, size, _, _ in rows:
        sizes[name if name in ours else "other"] += int(size)
    size = GaugeMetricFamily("events_table_bytes", "Size of a table with its indexes and partitions.", labels=["table"])
    for name, value in sizes.items():
        size.add_metric([name], value)
    yield size
    yield from _partitions({name: (count, end) for name, _, count, end in rows})
    whole = _number("SELECT pg_database_size(current_database())")
    yield _gauge("events_database_bytes", "Size of the whole database.", whole)


def _partitions(found: dict[str, tuple[int, str | None]]) -> Families:
    count = GaugeMetricFamily("events_table_partitions", "Partitions of a table.", labels=["table"])
    ahead = GaugeMetricFamily(
        "events_partition_weeks_ahead", "Weeks after this one that have a partition already.", labels=["table"]
    )
    default = GaugeMetricFamily(
        "events_default_partition_rows",
        "Rows, up to 1000, in the partition that catches what fits no other.",
        labels=["table"],
    )
    for table in settings.PARTITIONED_TABLES:
        partitions, end = found.get(table, (0, None))
        count.add_metric([table], partitions)
        ahead.add_metric([table], weeks_ahead(end))
        default.add_metric([table], default_partition_rows(table))
    yield from (count, ahead, default)


def default_partition_rows(table: str) -> int:
    """Up to 1000."""
    return _number(f"SELECT count(*) FROM (SELECT FROM {table}_default LIMIT 1000) AS caught")  # noqa: S608


def weeks_ahead(end: str | None) -> int:
    """`end`: the first id after the newest partition. Minus one when this week has none."""
    if end is None:
        return -1
    return max(-1, (time_of(UUID(end)) - week_of(timezone.now())) // WEEK - 1)


def heartbeat() -> Families:
    help_text = "Unix time when beat last handed a task to the broker; 0 if unknown."
    yield _gauge("events_beat_heartbeat_timestamp_seconds", help_text, last_beat() or 0)


def queues() -> Families:
    names = sorted({settings.CELERY_TASK_DEFAULT_QUEUE, *(r["queue"] for r in settings.CELERY_TASK_ROUTES.values())})
    family = GaugeMetricFamily("events_broker_messages", "Wake-ups waiting in a queue of the broker.", labels=["queue"])
    with current_app.connection_for_read(connect_timeout=2) as broker:
        broker.ensure_connection(max_retries=1, interval_start=0, timeout=2)
        for name in names:
            family.add_metric([name], queue_length(broker, name))
    yield family


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, value=value)


def _number(statement: str) -> int:
    return int(_rows(statement)[0][0])


def _rows(statement: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


Part = Callable[[], Families]
OF_POSTGRESQL: dict[str, Part] = {
    part.__name__: part for part in (outbox, due_deliveries, subscriptions, failures, exports, tables)
}
OF_REDIS: dict[str, Part] = {part.__name__: part for part in (heartbeat, queues)}
