"""`/api/v1/event-types`."""

from typing import Any

from django.http.response import HttpResponseBase
from msgspec import UNSET, Raw
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.decoding import decode
from core.postgresql.portions import own_columns
from core.problems import invalid
from core.times import format_time
from ingestion.api import event_type_schemas
from ingestion.api.event_type_schemas import EventTypePatch, EventTypeShown, NewEventType
from ingestion.formats.decoding import require_utf8_bytes
from ingestion.models import EventType, Format, Validation
from ingestion.operations import create_event_type, delete_event_type, shown_event_types, update_event_type
from ingestion.operations.event_types import MAX_SCHEMA_BYTES, EventTypeChanges, changeable_fields
from ingestion.queries import own_event_type
from organizations.keys.authentication import actor_of, caller_of
from organizations.keys.scopes import Scope
from organizations.models import Organization
from rest.lists import Listing, list_answer, read_page, read_text
from rest.parsing import read_body
from rest.versions import etag_of, expected_versions

BODY_LIMIT = MAX_SCHEMA_BYTES + 32 * 1024


class EventTypesView(APIView):
    """List event types; describe one before its first event."""

    scopes = {"GET": Scope.EVENTS_READ, "POST": Scope.SUBSCRIPTIONS_MANAGE}
    operations = event_type_schemas.EVENT_TYPES

    def get(self, request: Request) -> HttpResponseBase:
        page = read_page(request, "event-types")
        types = shown_event_types(caller_of(request).organization_id)
        if pattern := read_text(request, "name"):
            prefix = pattern.endswith("*")
            types = types.filter(name__startswith=pattern[:-1]) if prefix else types.filter(name=pattern)
        listing = Listing(
            rows=types,
            describe=lambda found: map(describe_event_type, found),
            large=own_columns("description", "schema"),
        )
        return list_answer(request, page, listing, owner=caller_of(request).organization_id)

    def post(self, request: Request) -> Response:
        wanted = _read(request, NewEventType)
        created = create_event_type(
            organization=_organization(request), name=wanted.name, changes=_changes(wanted), actor=actor_of(request)
        )
        return _shown(created, status=201)


class EventTypeView(APIView):
    """One event type, by its name."""

    scopes = {
        "GET": Scope.EVENTS_READ,
        "PATCH": Scope.SUBSCRIPTIONS_MANAGE,
        "DELETE": Scope.SUBSCRIPTIONS_MANAGE,
    }
    operations = event_type_schemas.EVENT_TYPE

    def get(self, request: Request, name: str) -> Response:
        return _shown(own_event_type(caller_of(request).organization_id, name=name))

    def patch(self, request: Request, name: str) -> Response:
        event_type = own_event_type(caller_of(request).organization_id, name=name)
        changes = _changes(_read(request, EventTypePatch))
        return _shown(
            update_event_type(
                event_type=event_type,
                changes=changes,
                actor=actor_of(request),
                expected=expected_versions(request),
            )
        )

    def delete(self, request: Request, name: str) -> Response:
        delete_event_type(
            event_type=own_event_type(caller_of(request).organization_id, name=name),
            actor=actor_of(request),
            expected=expected_versions(request),
        )
        return Response(status=204)


def describe_event_type(event_type: EventType) -> EventTypeShown:
    """As the API shows it."""
    return EventTypeShown(
        name=event_type.name,
        description=event_type.description,
        schema=event_type.schema and Raw(event_type.schema.encode()),
        validation=Validation(event_type.validation),
        format=Format(event_type.format),
        first_seen_at=format_time(event_type.first_seen_at) if event_type.first_seen_at else None,
        last_seen_at=format_time(event_type.last_seen_at) if event_type.last_seen_at else None,
        count=event_type.count,
    )


def _shown(event_type: EventType, status: int = 200) -> Response:
    return Response(describe_event_type(event_type), status=status, headers=etag_of(changeable_fields(event_type)))


def _changes(wanted: EventTypePatch) -> EventTypeChanges:
    if wanted.description is not UNSET and "\x00" in wanted.description:
        raise invalid("/description", "nul_character", "NUL characters cannot be stored.")
    text = bytes(wanted.schema).decode()
    schema = UNSET if not text else None if text == "null" else text
    return EventTypeChanges(
        description=wanted.description, schema=schema, validation=wanted.validation, format=wanted.format
    )


def _read(request: Request, kind: type[Any]) -> Any:
    body = read_body(request, limit=BODY_LIMIT)
    require_utf8_bytes(body)
    return decode(body, kind)


def _organization(request: Request) -> Organization:
    return Organization.objects.get(pk=caller_of(request).organization_id)
