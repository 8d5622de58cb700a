"""The intake's catalogue of the schemas in force."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from core.ports import Database
from ingestion.models import Format, Validation

REFRESH_SECONDS = 1.0
# A change gets its time before it is committed: look back this far, so that a late commit is not missed.
OVERLAP_SECONDS = 10.0

_ALL = """
SELECT organization_id, name, validation, schema::text, format FROM ingestion_eventtype WHERE validation <> 'off'
"""
_CHANGED = """
SELECT organization_id, name, validation, schema::text, format FROM ingestion_eventtype
WHERE changed_at > statement_timestamp() - make_interval(secs => %s)
"""


class SchemaInForce(NamedTuple):
    """`mode` is WARN or REJECT; the schema is JSON text. `asserts`: its formats have to fit."""

    mode: Validation
    text: str
    asserts: bool = False


_NONE: Mapping[str, SchemaInForce] = {}


class SchemaCatalogue:
    """The schemas in force, by organization and type; each process has its own, at most REFRESH_SECONDS old."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Start over: the next refresh loads everything."""
        self._schemas: dict[UUID, dict[str, SchemaInForce]] = {}
        self._loaded_at: float | None = None
        self._next_at = 0.0

    async def refresh(self, database: Database) -> None:
        """Learn what has changed; at most one query a second. Raises the database's errors, and then retries."""
        now = self._clock()
        if self._loaded_at is None:
            # Everybody waits for the first one, or events would slip past a schema when a process starts.
            rows = await database.fetch(_ALL, ())
        elif now < self._next_at:
            return
        else:
            # Before the query, so that one request asks and the others do not wait for it.
            self._next_at = now + REFRESH_SECONDS
            try:
                rows = await database.fetch(_CHANGED, (now - self._loaded_at + OVERLAP_SECONDS,))
            except BaseException:
                self._next_at = now
                raise
        self._learn(rows)
        self._loaded_at, self._next_at = now, now + REFRESH_SECONDS

    def of(self, organization_id: UUID) -> Mapping[str, SchemaInForce]:
        """The organization's schemas in force by type."""
        return self._schemas.get(organization_id, _NONE)

    def _learn(self, rows: Sequence[tuple[Any, ...]]) -> None:
        for organization_id, name, validation, text, format_ in rows:
            if validation != Validation.OFF:
                in_force = SchemaInForce(Validation(validation), text, asserts=format_ == Format.ASSERT)
                self._schemas.setdefault(organization_id, {})[name] = in_force
            elif schemas := self._schemas.get(organization_id):
                schemas.pop(name, None)
                if not schemas:
                    del self._schemas[organization_id]


schema_catalogue = SchemaCatalogue()


def forget_schemas() -> None:
    """Drop what this process knows, for tests."""
    schema_catalogue.forget()
