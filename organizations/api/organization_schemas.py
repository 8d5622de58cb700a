"""`/api/v1/organization`: the answer, as `/api/schema` shows it."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from organizations.plans import LIMITS, Limits, Plan
from rest.openapi import EXAMPLE_ID, EXAMPLE_TIME, Time, answer, get


class Usage(Struct):
    """Processed events, by whole hours; and how much there is of what is limited, by the names of the limits."""

    events_last_24_hours: int
    events_last_30_days: int
    subscriptions: int
    api_keys: Annotated[int, Meta(description="Active ones.")]
    event_types: int
    schemas_in_force: int
    filter_bytes: int
    members: int
    invitations_per_day: Annotated[int, Meta(description="Of the last 24 hours, as all that ends in `_per_day`.")]
    replays_running: int
    replays_per_day: int
    exports_running: int
    exports_per_day: int
    export_bytes: int


class OrganizationShown(Struct):
    """The organization of the API key."""

    id: UUID
    name: str
    slug: str
    plan: Annotated[str, Meta(extra_json_schema={"enum": Plan.values})]
    suspended: bool
    limits: Limits
    usage: Usage
    created_at: Time


_USAGE = {
    "events_last_24_hours": 12,
    "events_last_30_days": 345,
    "subscriptions": 2,
    "api_keys": 1,
    "event_types": 7,
    "schemas_in_force": 1,
    "filter_bytes": 96,
    "members": 3,
    "invitations_per_day": 0,
    "replays_running": 0,
    "replays_per_day": 1,
    "exports_running": 0,
    "exports_per_day": 0,
    "export_bytes": 0,
}
ORGANIZATION = get(
    "get_organization",
    "Show the organization",
    "The only operation open to a suspended organization; it says so here.",
    answers=answer(
        "The organization of the API key.",
        OrganizationShown,
        organization={
            "id": EXAMPLE_ID,
            "name": "Example",
            "slug": "example",
            "plan": "free",
            "suspended": False,
            "limits": vars(LIMITS[Plan.FREE]),
            "usage": _USAGE,
            "created_at": EXAMPLE_TIME,
        },
    ),
    open_to_suspended=True,
)
