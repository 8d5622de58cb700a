"""What the console's navigation links to. A new page group adds an entry here, and appears for those who may see it."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.urls import reverse

from console.access import Action, OrganizationContext


@dataclass(frozen=True, kw_only=True)
class Entry:
    """`section` is what a page passes to render_page(); `url_name` takes the slug; `needs` decides who sees it."""

    section: str
    label: str
    url_name: str
    needs: Action


@dataclass(frozen=True, kw_only=True)
class Link:
    label: str
    url: str
    is_current: bool


# In the order of the page. Only what exists.
ENTRIES = (
    Entry(section="overview", label="Overview", url_name="console:overview", needs=Action.SEE_EVENTS),
    Entry(section="events", label="Events", url_name="console:organization-events", needs=Action.SEE_EVENTS),
    Entry(section="live", label="Live", url_name="console:live", needs=Action.SEE_EVENTS),
    Entry(
        section="subscriptions",
        label="Subscriptions",
        url_name="console:subscriptions",
        needs=Action.SEE_SUBSCRIPTIONS,
    ),
    Entry(section="issues", label="Issues", url_name="console:issues", needs=Action.SEE_SUBSCRIPTIONS),
    Entry(
        section="event-types",
        label="Event types",
        url_name="console:event-types",
        needs=Action.SEE_EVENT_TYPES,
    ),
    Entry(section="exports", label="Exports", url_name="console:exports", needs=Action.SEE_EXPORTS),
    Entry(section="keys", label="Keys", url_name="console:keys", needs=Action.SEE_KEYS),
    Entry(section="members", label="Members", url_name="console:members", needs=Action.SEE_MEMBERS),
    Entry(section="usage", label="Usage", url_name="console:usage", needs=Action.SEE_USAGE),
    Entry(section="notices", label="Notices", url_name="console:notices", needs=Action.MANAGE_ORGANIZATION),
    Entry(section="portal", label="Portal", url_name="portal-settings", needs=Action.MANAGE_ORGANIZATION),
    Entry(section="audit", label="Audit log", url_name="console:audit", needs=Action.SEE_AUDIT),
)


# Pages that no tab leads to, for the palette.
MORE_ENTRIES = (
    Entry(section="", label="Send an event", url_name="console:send-event", needs=Action.SEND_EVENTS),
    Entry(section="", label="Rejected requests", url_name="console:rejected", needs=Action.SEE_EVENTS),
    Entry(section="", label="First event", url_name="console:start", needs=Action.SEE_EVENTS),
    Entry(section="", label="Replays", url_name="console:replays", needs=Action.SEE_SUBSCRIPTIONS),
    Entry(
        section="",
        label="New subscription",
        url_name="console:create-subscription",
        needs=Action.MANAGE_SUBSCRIPTIONS,
    ),
    Entry(section="", label="New event type", url_name="console:create-event-type", needs=Action.MANAGE_EVENT_TYPES),
)


def palette_of(place: OrganizationContext) -> list[Link]:
    """Every page of the organization that this person may open by itself."""
    return _links(place, (*ENTRIES, *MORE_ENTRIES))


def links_for(place: OrganizationContext, section: str) -> list[Link]:
    """The tabs that this person may follow."""
    return _links(place, ENTRIES, section)


def links_of_all(section: str, *, with_health: bool) -> list[Link]:
    """What staff see of all organizations together, and those who run the platform of itself."""
    links = [
        Link(label="Events", url=reverse("console:events"), is_current=section == "events"),
        Link(label="Live", url=reverse("console:all-live"), is_current=section == "live"),
        Link(label="Organizations", url=reverse("console:organizations"), is_current=section == "organizations"),
    ]
    if with_health:
        links.append(Link(label="Health", url=reverse("health-page"), is_current=section == "health"))
    return links


def _links(place: OrganizationContext, entries: Sequence[Entry], section: str = "") -> list[Link]:
    return [
        Link(
            label=entry.label,
            url=reverse(entry.url_name, args=[place.organization.slug]),
            is_current=bool(section) and entry.section == section,
        )
        for entry in entries
        if place.may(entry.needs)
    ]
