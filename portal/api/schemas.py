"""`/api/v1/portal-links`: bodies and answers, as the view uses them and as `/api/schema` shows them."""

from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct, field

from delivery.api.schemas import GivenFilter
from delivery.endpoints.option_rules import MAX_TAG_LENGTH
from portal.links import MAX_SECONDS
from rest.openapi import EXAMPLE_ID, EXAMPLE_TIME, Time, answer, json_of, post

MAX_SUBSCRIPTIONS = 100


class NewPortalLink(Struct, forbid_unknown_fields=True, kw_only=True):
    """A link into the portal: give either `tag` or `subscriptions`."""

    tag: (
        Annotated[
            str,
            Meta(
                max_length=MAX_TAG_LENGTH,
                description="The portal shows the subscriptions with this tag, also those that get it later.",
            ),
        ]
        | None
    ) = None
    subscriptions: (
        Annotated[list[UUID], Meta(max_length=MAX_SUBSCRIPTIONS, description="The portal shows these, and adds none.")]
        | None
    ) = None
    permissions: Annotated[
        list[Literal["read", "manage"]],
        Meta(
            min_length=1,
            max_length=2,
            description="`manage` includes `read`: retry, test, pause, see and rotate secrets, change URL and event"
            " types, delete; with a tag also add webhooks, which get the tag.",
        ),
    ] = field(default_factory=lambda: ["read"])
    filter: Annotated[
        GivenFilter,
        Meta(
            description="The filter of webhooks that are added in the portal; whoever uses it neither sees nor changes"
            " it. Without one, they may take every event of the organization."
        ),
    ] = None
    expires_in: Annotated[
        int, Meta(ge=1, le=MAX_SECONDS, description="In seconds: when the link and the session that it opens end.")
    ] = 3600


class PortalLinkCreated(Struct):
    """The link works once. Hand it to one person: whoever opens it first gets in."""

    url: Annotated[str, Meta(extra_json_schema={"format": "uri"})]
    expires_at: Time


_CREATED = {"url": "https://events.example.com/portal/open/kJ3v0TzYxw5nJbq8cVd2", "expires_at": EXAMPLE_TIME}

PORTAL_LINKS = post(
    "create_portal_link",
    "Create a portal link",
    "A link for your own customer or colleague, who has no account here. It opens a session of at most"
    " 24 hours in the portal, which shows, and with `manage` manages, only the subscriptions that you name.",
    body=json_of(
        NewPortalLink,
        tag={"tag": "customer-42", "permissions": ["read", "manage"], "expires_in": 3600},
        subscriptions={"subscriptions": [EXAMPLE_ID], "permissions": ["read"]},
        bounded={
            "tag": "customer-42",
            "permissions": ["manage"],
            "filter": {"data.customer": "42"},
        },
    ),
    answers=answer("The link.", PortalLinkCreated, status=201, link=_CREATED),
    problems=("limit_reached",),
)
