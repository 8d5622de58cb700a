"""Describe event types and put their schemas in force."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from django.db import IntegrityError, transaction
from django.db.models import Count, Expression, JSONField, Q, QuerySet, Sum, TextField, Value
from django.db.models.functions import Cast, Coalesce, Length, Now
from msgspec import UNSET, UnsetType

from core.field_errors import FieldError
from core.problems import Problem, invalid
from ingestion.formats.decoding import check_jsonb
from ingestion.models import EventType, Format, Validation
from ingestion.schemas.checking import schema_checks
from ingestion.schemas.messages import Reply
from organizations.audit import Actor, record
from organizations.limits import hold_limits, refuse_over
from organizations.models import Organization
from organizations.plans import Limits
from rest.versions import require_version

MAX_SCHEMA_BYTES = 64 * 1024
# Every process keeps every schema in force in memory.
MAX_SCHEMAS_CHARACTERS = 2 * 1024 * 1024
# A type that was described, never seen, and deleted keeps its row, for its `changed_at` tells every process that the
# schema is gone. JSON's null in place of SQL's NULL marks it; nobody is shown it.
_JSON_NULL = "null"
DELETED = Q(first_seen_at=None, schema=Value(None, JSONField()))
ONLY_SEEN = Q(first_seen_at__isnull=False, description="", schema__isnull=True, validation=Validation.OFF)


@dataclass(frozen=True, kw_only=True)
class EventTypeChanges:
    """What to set; UNSET leaves a field as it is. `schema` is JSON text, None takes it away."""

    description: str | UnsetType = UNSET
    schema: str | UnsetType | None = UNSET
    validation: Validation | UnsetType = UNSET
    format: Format | UnsetType = UNSET


def shown_event_types(organization_id: UUID) -> QuerySet[EventType]:
    """The organization's types that were seen or described."""
    return EventType.objects.for_organization(organization_id).exclude(DELETED)


def create_event_type(*, organization: Organization, name: str, changes: EventTypeChanges, actor: Actor) -> EventType:
    """Describe a type that events have or may come to have.

    Raises Problem 409 when it is described already, or when it would be one too many.
    """
    _check(organization.pk, changes)
    with transaction.atomic():
        limits = hold_limits(organization.pk)
        event_type = _insert_or_revive(organization, name, limits)
        summary = _summary(event_type, changes)
        _apply(event_type, changes)
        record(
            actor=actor,
            action="event_type.created",
            target=event_type,
            organization=organization,
            changes=summary,
        )
    return event_type


def update_event_type(
    *, event_type: EventType, changes: EventTypeChanges, actor: Actor, expected: Sequence[str] | None = None
) -> EventType:
    """Set what `changes` names; in force in every process within two seconds. Raises Problem 412 or 422.

    `expected`: the versions of changeable_fields() for which it was meant; None for any.
    """
    _check(event_type.organization_id, changes)
    with transaction.atomic():
        locked = _lock(event_type)
        require_version(expected, changeable_fields(locked))
        summary = _summary(locked, changes)
        _apply(locked, changes)
        if summary:
            record(
                actor=actor,
                action="event_type.updated",
                target=locked,
                organization=locked.organization,
                changes=summary,
            )
    return locked


def changeable_fields(event_type: EventType) -> dict[str, Any]:
    """What update_event_type() can set, as it is; rest.versions makes the version from it."""
    schema = _schema_of(event_type)
    return {
        "description": event_type.description,
        "schema": None if schema is None else compact(schema),
        "validation": str(event_type.validation),
        "format": str(event_type.format),
    }


def compact(schema: str) -> str:
    """The same JSON without white space: PostgreSQL has its own, and so has whoever types it."""
    return msgspec.json.format(schema, indent=-1)


@transaction.atomic
def delete_event_type(*, event_type: EventType, actor: Actor, expected: Sequence[str] | None = None) -> None:
    """Take away description, schema and validation; a type that was seen stays listed, another is gone.

    Raises Problem 412 for another version than is expected.
    """
    locked = _lock(event_type)
    require_version(expected, changeable_fields(locked))
    EventType.objects.filter(pk=locked.pk).update(
        description="",
        schema=None if locked.first_seen_at else _json(_JSON_NULL),
        validation=Validation.OFF,
        format=Format.ANNOTATE,
        changed_at=Now(),
    )
    record(actor=actor, action="event_type.deleted", target=locked, organization=locked.organization)


def _check(organization_id: UUID, changes: EventTypeChanges) -> None:
    """413, 422 or 429 for a schema that cannot be put in force. Others wait behind it, so never in a transaction."""
    if not isinstance(changes.schema, str):
        return
    raw = changes.schema.encode()
    if len(raw) > MAX_SCHEMA_BYTES:
        raise Problem("payload_too_large", f"schema is over {MAX_SCHEMA_BYTES} bytes.")
    try:
        check_jsonb(raw)
    except Problem as problem:
        raise _about_schema(problem) from problem
    reply = schema_checks.check_now(organization_id, [changes.schema])
    if not isinstance(reply, Reply):
        raise _about_schema(schema_checks.problem_of(reply, organization_id))
    if refusal := reply.refusals[0]:
        raise invalid("/schema", *refusal)


def _about_schema(problem: Problem) -> Problem:
    """check_jsonb() speaks of an event's data."""
    errors = [
        FieldError(pointer="/schema", code=error.code, detail=error.detail.replace("data", "schema", 1))
        for error in problem.errors
    ]
    return Problem(problem.problem_type.code, errors=errors, headers=problem.headers)


def _insert_or_revive(organization: Organization, name: str, limits: Limits) -> EventType:
    types = EventType.objects.for_organization(organization.pk)
    if types.filter(DELETED | ONLY_SEEN, name=name).update(schema=None, changed_at=Now()):
        return types.select_related("organization").get(name=name)
    refuse_over(
        limits.event_types,
        used=types.count() - types.filter(name=name).count(),
        what="event types",
        way_out="Those that are not described make room when no event has had them for long.",
    )
    try:
        with transaction.atomic():
            return EventType.objects.create(
                organization=organization,
                name=name,
                description="",
                validation=Validation.OFF,
                format=Format.ANNOTATE,
            )
    except IntegrityError as error:
        raise Problem("event_type_exists") from error


def _lock(event_type: EventType) -> EventType:
    """The row as it is now, held until the end; 404 when it has just been deleted."""
    shown = shown_event_types(event_type.organization_id).select_related("organization")
    locked = shown.select_for_update(of=("self",)).filter(pk=event_type.pk).first()
    if locked is None:
        raise Problem("not_found")
    return locked


def _apply(event_type: EventType, changes: EventTypeChanges) -> None:
    """Write the changes and read the row again, as PostgreSQL prints the schema in its own way."""
    schema = _schema_of(event_type) if changes.schema is UNSET else changes.schema
    validation = event_type.validation if changes.validation is UNSET else changes.validation
    if schema is None and validation != Validation.OFF:
        raise invalid("/validation", "needs_schema", f"validation can be {validation} only with a schema.")
    if validation != Validation.OFF:
        _refuse_too_many(event_type)
    fields: dict[str, Any] = {"validation": validation}
    if changes.description is not UNSET:
        fields["description"] = changes.description
    if changes.schema is not UNSET:
        fields["schema"] = changes.schema and _json(changes.schema)
    if changes.format is not UNSET:
        fields["format"] = changes.format
    if any(value is not UNSET for value in (changes.schema, changes.validation, changes.format)):
        fields["changed_at"] = Now()
    EventType.objects.filter(pk=event_type.pk).update(**fields)
    event_type.refresh_from_db()


def _refuse_too_many(event_type: EventType) -> None:
    """Soft limits: two changes at once may both be the last one."""
    most = event_type.organization.limits.schemas_in_force
    others = EventType.objects.for_organization(event_type.organization_id).exclude(validation=Validation.OFF)
    found = others.exclude(pk=event_type.pk).aggregate(
        count=Count("pk"), characters=Coalesce(Sum(Length(Cast("schema", TextField()))), 0)
    )
    if found["count"] >= most:
        raise invalid("/validation", "too_many", f"An organization can have {most} schemas in force.")
    if found["characters"] >= MAX_SCHEMAS_CHARACTERS:
        detail = f"The schemas in force have {MAX_SCHEMAS_CHARACTERS} characters together; that is the limit."
        raise invalid("/validation", "too_many", detail)


def _schema_of(event_type: EventType) -> str | None:
    return None if event_type.schema == _JSON_NULL else event_type.schema


def _summary(event_type: EventType, changes: EventTypeChanges) -> dict[str, Any]:
    """For the audit log; of a schema only its size, as it may be large and is shown elsewhere."""
    summary: dict[str, Any] = {}
    if changes.description is not UNSET:
        summary["description"] = [event_type.description, changes.description]
    if changes.validation is not UNSET:
        summary["validation"] = [event_type.validation, changes.validation]
    if changes.format is not UNSET:
        summary["format"] = [event_type.format, changes.format]
    if changes.schema is not UNSET:
        summary["schema_bytes"] = [len(_schema_of(event_type) or ""), len(changes.schema or "")]
    return summary


def _json(text: str) -> Expression:
    """JSON text as jsonb without a way over Python, which would change its numbers."""
    return Cast(Value(text, TextField()), JSONField())
