"""The steps of retention: each tells what it would remove, and removes it batch by batch while there is time."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from core.event_ids import time_of
from core.partitions.drops import drop_partition, ended_partitions
from core.partitions.weeks import Partition
from core.postgresql.arrays import uuid_array
from lifecycle.retention.floors import Floors

ROWS_PER_BATCH = 5_000
# The worker also processes events, and may have few processes: these wait for a portion, not for all of it.
SECONDS_PER_PORTION = 10.0
# A look at what would go counts no further.
MAX_COUNTED = 100_000
_LOOK = """
SELECT count(*), min(row.id::text) FROM (
    SELECT old.id FROM unnest(%s::uuid[], %s::uuid[]) AS owner (id, floor)
    JOIN {table} AS old ON old.{owner_column} = owner.id AND old.id < owner.floor AND {condition} LIMIT %s
) AS row
"""


@dataclass(frozen=True, kw_only=True)
class Removable:
    """What a step would remove. `oldest` is when the oldest of it was made, where that is known."""

    rows: int = 0
    partitions: tuple[str, ...] = ()
    oldest: datetime | None = None


class Budget:
    """Until when a run may begin another batch."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    @property
    def is_spent(self) -> bool:
        return time.monotonic() >= self._deadline


@dataclass(frozen=True, kw_only=True)
class Step:
    """`preview` changes nothing; `remove` returns how many rows or partitions have gone or were ended."""

    what: str
    period: str
    preview: Callable[[Floors], Removable]
    remove: Callable[[Floors, Budget], int]


def rows_step(what: str, period: str, rows: Callable[[Floors], "QuerySet[Any]"], *, time_field: str = "") -> Step:
    """Of a table without partitions: the rows of a query, oldest first."""

    def preview(floors: Floors) -> Removable:
        found = rows(floors)
        count = len(found.values_list("pk", flat=True)[: MAX_COUNTED + 1])
        first = found.order_by(time_field).values_list(time_field, flat=True).first() if time_field and count else None
        return Removable(rows=count, oldest=first)

    def remove(floors: Floors, budget: Budget) -> int:
        return repeated(lambda: remove_batch(rows(floors)), budget)

    return Step(what=what, period=period, preview=preview, remove=remove)


def partitions_step(table: str, period: str, is_needed: Callable[[Partition, Floors], bool]) -> Step:
    """Whole weeks of which no organization needs anything."""

    def droppable(floors: Floors) -> Iterator[Partition]:
        for partition in ended_partitions(table, now=floors.now):
            if not is_needed(partition, floors):
                yield partition

    def preview(floors: Floors) -> Removable:
        found = list(droppable(floors))
        return Removable(
            rows=sum(partition.rows for partition in found),
            partitions=tuple(partition.name for partition in found),
            oldest=found[0].week if found else None,
        )

    def remove(floors: Floors, budget: Budget) -> int:
        dropped = 0
        for partition in droppable(floors):
            if budget.is_spent:
                break
            dropped += drop_partition(partition, is_needed=lambda one: is_needed(one, floors))
        return dropped

    return Step(what=f"{table}: whole weeks", period=period, preview=preview, remove=remove)


def batches_step(
    what: str,
    period: str,
    *,
    owners: Callable[[Floors], Mapping[UUID, UUID]],
    batch: Callable[[UUID, UUID], int],
    table: str,
    owner_column: str,
    condition: str = "true",
) -> Step:
    """`owners`: organizations or subscriptions with something to remove, and the floor that it lies below.

    `batch` is called with each and its floor until it finds nothing more. `table`, `owner_column` and `condition`, in
    SQL, are for the look.
    """

    def preview(floors: Floors) -> Removable:
        found = owners(floors)
        with connection.cursor() as cursor:
            cursor.execute(
                _LOOK.format(table=table, owner_column=owner_column, condition=condition),
                [uuid_array(found), uuid_array(found.values()), MAX_COUNTED + 1],
            )
            rows, oldest = cursor.fetchone()
        return Removable(rows=rows, oldest=time_of(UUID(oldest)) if oldest else None)

    def remove(floors: Floors, budget: Budget) -> int:
        return sum(repeated(partial(batch, *pair), budget) for pair in owners(floors).items())

    return Step(what=what, period=period, preview=preview, remove=remove)


def repeated(batch: Callable[[], int], budget: Budget) -> int:
    """Call it until it does nothing more or the time is over; returns what it did in all."""
    done = 0
    while not budget.is_spent:
        made = batch()
        if not made:
            break
        done += made
    return done


def remove_batch(rows: "QuerySet[Any]") -> int:
    """Delete the first ROWS_PER_BATCH of a query; returns how many."""
    pks = list(rows.values_list("pk", flat=True)[:ROWS_PER_BATCH])
    if pks:
        rows.model._default_manager.filter(pk__in=pks).delete()
    return len(pks)
