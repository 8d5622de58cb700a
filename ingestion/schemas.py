"""JSON Schemas of event types: what is taken as one, and the intake's catalogue of those in force."""

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any
from uuid import UUID

import msgspec
from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from ingestion.models import Validation
from ingestion.schema_cost import SchemaCost, SchemaError, estimate_cost
from rest.ports import Database
from rest.problems import FieldError

logger = logging.getLogger(__name__)
DIALECT = "https://json-schema.org/draft/2020-12/schema"
# In steps, of 10 ns or less for most keywords and 100 ns for some: an event holds the intake up for a second at most.
MAX_COST = 50_000_000
# Telling what is wrong is dearer than telling that something is: up to 0.7 µs a step for the first error, as much
# again for each one that is listed. Beyond these, the first error alone, then only that there is one.
MAX_COST_OF_LISTING = 50_000
MAX_COST_OF_FIRST_ERROR = 1_000_000
# The smallest event that a schema must be able to check, in characters: else it is no use and refused.
_LEAST_DATA = "[" * 8 + "0," * 500 + "0" + "]" * 8
MAX_ERRORS = 20
# Characters of a pointer or a sentence: names of members may be as long as the data.
MAX_DETAIL = 300
MAX_COMPILED = 2_000
REFRESH_SECONDS = 1.0
# A change gets its time before it is committed: look back this far, so that a late commit is not missed.
OVERLAP_SECONDS = 10.0

# Bytes that a compiled pattern may take, and all of a schema's together. `.{1,255}` takes 0.5 MB.
PATTERN_BYTES = 1 << 20
PATTERNS_BYTES = 4 << 20
_META = Draft202012Validator({"$ref": DIALECT}, offline=True)
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")

_ALL = """
SELECT organization_id, name, validation, schema::text FROM ingestion_eventtype WHERE validation <> 'off'
"""
_CHANGED = """
SELECT organization_id, name, validation, schema::text FROM ingestion_eventtype
WHERE changed_at > statement_timestamp() - make_interval(secs => %s)
"""


@dataclass(frozen=True, kw_only=True)
class CompiledSchema:
    """A schema that is ready to check events, and the bound of what that costs."""

    validator: Draft202012Validator
    cost: SchemaCost

    def errors(self, data: str) -> tuple[FieldError, ...]:
        """What is wrong with `data`, JSON text: at most MAX_ERRORS, none when it is valid."""
        value = msgspec.json.decode(data)
        cost = self.cost.of(data, value, enough=MAX_COST_OF_LISTING)
        if cost > MAX_COST:
            return (FieldError(pointer="/data", code="too_costly", detail="Checking this data would take too long."),)
        if self.validator.is_valid(value):
            return ()
        if cost <= MAX_COST_OF_LISTING:
            return tuple(map(_field_error, islice(self.validator.iter_errors(value), MAX_ERRORS)))
        if cost <= MAX_COST_OF_FIRST_ERROR:
            try:
                self.validator.validate(value)
            except ValidationError as error:
                return (_field_error(error),)
        return (FieldError(pointer="/data", code="invalid", detail="The data does not fit the schema."),)


def compile_schema(text: str) -> CompiledSchema:
    """The schema in `text`, JSON that check_data() has passed. Never opens a connection. Raises SchemaError."""
    schema = msgspec.json.decode(text)
    try:
        _META.validate(schema)
    except ValidationError as error:
        raise _schema_error(error) from error
    if isinstance(schema, dict) and schema.get("$schema", DIALECT).removesuffix("#") != DIALECT:
        raise SchemaError("unsupported_dialect", f"Schemas are read as {DIALECT}.")
    cost = estimate_cost(schema, is_schema=_META.is_valid)
    if cost.of(_LEAST_DATA, msgspec.json.decode(_LEAST_DATA)) > MAX_COST:
        raise SchemaError("too_costly", "Checking events against this schema could take too long.")
    share = min(PATTERN_BYTES, PATTERNS_BYTES // max(cost.patterns, 1))
    # This engine is linear in the text: it does not backtrack, so it knows no look-around.
    patterns = RegexOptions(size_limit=share, dfa_size_limit=share)
    try:
        validator = Draft202012Validator(
            schema, validate_formats=False, mask="The value", pattern_options=patterns, offline=True
        )
    except ValidationError as error:
        raise _schema_error(error) from error
    except ValueError as error:
        raise SchemaError("invalid_schema", str(error)[:MAX_DETAIL]) from error
    return CompiledSchema(validator=validator, cost=cost)


@lru_cache(maxsize=MAX_COMPILED)
def _compiled(text: str) -> CompiledSchema | None:
    try:
        return compile_schema(text)
    except SchemaError as error:
        # It was taken once, by another version: the events go on, and the log says so once per process.
        logger.error("a stored schema cannot be used (%s) and is ignored", error.code)  # noqa: TRY400
        return None


@dataclass(frozen=True, kw_only=True)
class SchemaVerdict:
    """An event that does not fit its type's schema. `mode` is WARN or REJECT; pointers start with `/data`."""

    mode: Validation
    errors: tuple[FieldError, ...]


class SchemaCatalogue:
    """The schemas in force, by organization and type; each process has its own, at most REFRESH_SECONDS old."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Start over: the next refresh loads everything."""
        self._schemas: dict[UUID, dict[str, tuple[Validation, str]]] = {}
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

    def check(self, organization_id: UUID, event_type: str, data: str) -> SchemaVerdict | None:
        """What is wrong with an event of this type; None when it fits, or no schema is in force."""
        schemas = self._schemas.get(organization_id)
        if schemas is None:
            return None
        found = schemas.get(event_type)
        if found is None:
            return None
        mode, text = found
        schema = _compiled(text)
        errors = schema.errors(data) if schema else ()
        return SchemaVerdict(mode=mode, errors=errors) if errors else None

    def _learn(self, rows: Sequence[tuple[Any, ...]]) -> None:
        for organization_id, name, validation, text in rows:
            if validation != Validation.OFF:
                self._schemas.setdefault(organization_id, {})[name] = (Validation(validation), text)
            elif schemas := self._schemas.get(organization_id):
                schemas.pop(name, None)
                if not schemas:
                    del self._schemas[organization_id]


catalogue = SchemaCatalogue()


def forget_schemas() -> None:
    """Drop what this process knows and has compiled, for tests."""
    catalogue.forget()
    _compiled.cache_clear()


def _schema_error(error: ValidationError) -> SchemaError:
    message = error.message
    if error.kind.name == "format":
        message = "This is no pattern that can be used; look-around, back-references and huge repetitions are not."
    place = _pointer("", error.instance_path)
    return SchemaError("invalid_schema", f"At {place or 'the top'}: {message}"[:MAX_DETAIL])


def _field_error(error: ValidationError) -> FieldError:
    return FieldError(
        pointer=_pointer("/data", error.instance_path)[:MAX_DETAIL],
        code=_CAPITAL.sub("_", error.kind.name).lower(),
        detail=error.message[:MAX_DETAIL],
    )


def _pointer(start: str, path: Sequence[str | int]) -> str:
    """RFC 6901."""
    return start + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
