"""The stage of the intake that holds events against the schemas of their types, in questions of bounded size."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from core.field_errors import FieldError
from core.problems import Problem
from ingestion.formats.decoding import DecodedEvent
from ingestion.models import Validation
from ingestion.schemas.catalogue import SchemaInForce, schema_catalogue
from ingestion.schemas.checking import Check, Unchecked, schema_checks
from ingestion.schemas.messages import Reply

logger = logging.getLogger(__name__)
# Of one question: between two, others have their turn.
QUESTION_EVENTS = 50
QUESTION_CHARACTERS = 128 * 1024

MAX_REPORTED = 1_000

_UNCHECKED = FieldError(
    pointer="/data", code="unchecked", detail="The event was not checked: checks of the organization take too long."
)
_reported: set[tuple[str, str]] = set()


@dataclass(frozen=True, kw_only=True)
class SchemaVerdict:
    """An event that does not fit its type's schema, or was not checked: why it is refused, or how it is marked.

    Pointers start with `/data`.
    """

    errors: tuple[FieldError, ...]
    problem: Problem | None


async def check_events(
    check: Check, organization_id: UUID, events: Sequence[DecodedEvent]
) -> list[SchemaVerdict | None]:
    """A verdict for each event; None when it fits, or its type has no schema in force."""
    verdicts: list[SchemaVerdict | None] = [None] * len(events)
    schemas = schema_catalogue.of(organization_id)
    if schemas:
        for numbers in _questions(schemas, events):
            found = [(schemas[events[number].type], events[number].data) for number in numbers]
            for number, verdict in zip(numbers, await _ask(check, organization_id, found), strict=True):
                verdicts[number] = verdict
    return verdicts


def _questions(schemas: Mapping[str, SchemaInForce], events: Sequence[DecodedEvent]) -> Iterator[list[int]]:
    """The numbers of the events that have a schema, a bounded lot at a time."""
    numbers: list[int] = []
    characters, texts = 0, set[str]()
    for number, event in enumerate(events):
        schema = schemas.get(event.type)
        if schema is None:
            continue
        more = len(event.data) + (0 if schema.text in texts else len(schema.text))
        if numbers and (len(numbers) >= QUESTION_EVENTS or characters + more > QUESTION_CHARACTERS):
            yield numbers
            numbers, characters, texts = [], 0, set()
            more = len(event.data) + len(schema.text)
        numbers.append(number)
        characters += more
        texts.add(schema.text)
    if numbers:
        yield numbers


async def _ask(
    check: Check, organization_id: UUID, events: Sequence[tuple[SchemaInForce, str]]
) -> list[SchemaVerdict | None]:
    texts = dict.fromkeys((schema.text, schema.asserts) for schema, _ in events)
    places = {key: place for place, key in enumerate(texts)}
    asserting = [place for (_, asserts), place in places.items() if asserts]
    verdicts: list[SchemaVerdict | None] = []
    while rest := events[len(verdicts) :]:
        asked = [(places[schema.text, schema.asserts], data) for schema, data in rest]
        reply = await check(organization_id, [text for text, _ in places], asked, asserting)
        if isinstance(reply, Unchecked):
            # The same for all of them: a thousand problems would take as long as the batch.
            by_mode = {mode: _unchecked(reply, mode, organization_id) for mode in {schema.mode for schema, _ in rest}}
            return verdicts + [by_mode[schema.mode] for schema, _ in rest]
        _report_unusable(reply)
        verdicts += [_verdict(schema.mode, errors) for (schema, _), errors in zip(rest, reply.findings, strict=False)]
    return verdicts


def _verdict(mode: Validation, errors: tuple[FieldError, ...]) -> SchemaVerdict | None:
    if not errors:
        return None
    if mode == Validation.WARN:
        return SchemaVerdict(errors=errors, problem=None)
    problem = Problem("validation_failed", "data does not fit the schema of its type.", errors=errors)
    return SchemaVerdict(errors=errors, problem=problem)


def _unchecked(why: Unchecked, mode: Validation, organization_id: UUID) -> SchemaVerdict:
    """Refused, to be sent again; or taken, and marked."""
    if mode == Validation.WARN:
        return SchemaVerdict(errors=(_UNCHECKED,), problem=None)
    return SchemaVerdict(errors=(), problem=schema_checks.problem_of(why, organization_id))


def _report_unusable(reply: Reply) -> None:
    """Schemas that were taken once, by another version: their events go on, and the log says so once per process."""
    for refusal in reply.refusals:
        if refusal and refusal not in _reported and len(_reported) < MAX_REPORTED:
            _reported.add(refusal)
            logger.error("a stored schema cannot be used (%s) and is ignored", refusal[0])
