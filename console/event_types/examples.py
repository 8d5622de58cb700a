"""Data as events of a type have it: for the type's page, and to begin with when one is sent from here."""

import msgspec

from console.access import Action, OrganizationContext
from core.decoding import parse
from ingestion.models import Event, EventType

# Characters; indentation can make a hundred times as much of deeply nested data.
_MOST_INDENTED = 20_000


def newest_example(place: OrganizationContext, name: str) -> Event | None:
    """The newest event of the type, for whoever may read its data."""
    if not place.may(Action.SEE_PAYLOADS):
        return None
    return Event.objects.for_organization(place.organization.pk).filter(type=name).order_by("-pk").first()


def example_data(place: OrganizationContext, name: str) -> str | None:
    """The first of the schema's `examples`, else the data of the newest event; None when there is neither."""
    known = EventType.objects.for_organization(place.organization.pk).filter(name=name).first()
    schema = parse(known.schema) if known and known.schema else None
    if isinstance(schema, dict) and isinstance(schema.get("examples"), list) and schema["examples"]:
        return pretty(msgspec.json.encode(schema["examples"][0]).decode())
    newest = newest_example(place, name)
    return pretty(newest.data) if newest else None


def pretty(text: str | None) -> str:
    """JSON text for people, as long as it is no more than they can read."""
    if not text or len(text) > _MOST_INDENTED:
        return text or ""
    return msgspec.json.format(text.encode(), indent=2).decode()
