"""What a mail about a notice says: what it is about by its name, since when, and where exactly to look."""

from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.urls import reverse

from core.times import format_time
from delivery.models import Subscription
from ingestion.models import Event
from notifications.models import NoticeKind
from notifications.preferences import readers_at_once
from notifications.unsubscribing import headers_of, preferences_link

TEMPLATES = {
    NoticeKind.SUBSCRIPTION_DISABLED: "delivery/subscription_disabled.txt",
    NoticeKind.DEAD_LETTER: "delivery/dead_letter.txt",
    NoticeKind.LIMIT_REACHED: "delivery/limit_reached.txt",
    NoticeKind.CERTIFICATE_ENDS: "delivery/certificate_ends.txt",
}


def words_of(event: Event) -> tuple[str, str]:
    """Subject and text of a notice; what it is about may be gone."""
    kind, data = NoticeKind(event.type), msgspec.json.decode(event.data)
    subscription = _subscription(event, data)
    # A name may hold line breaks, a header must not.
    name = one_line(event.organization.name)
    context = {
        "name": name,
        "data": data,
        "subscription": subscription.label if subscription else data.get("subscription_id", ""),
        "failing_since": subscription and subscription.failing_since and format_time(subscription.failing_since),
        "at": format_time(event.time or event.received_at),
        **links_of(event, data, subscription),
    }
    about = f" ({one_line(subscription.label)})" if subscription else ""
    return f"{kind.label}{about}: {name}", render_to_string(TEMPLATES[kind], context)


def compose_notice(about: dict[str, Any]) -> list[EmailMessage]:
    """To one person; none to whoever has left, or wants it no more, or if the organization was suspended meanwhile."""
    event = Event.objects.filter(pk=about["event_id"]).select_related("organization").first()
    if event is None or event.organization.suspended_at is not None:
        return []
    kind, organization = NoticeKind(event.type), event.organization
    reader = readers_at_once(organization.pk, kind).filter(pk=about["user_id"]).first()
    if reader is None:
        return []
    subject, text = words_of(event)
    context = {"name": one_line(organization.name), "preferences": preferences_link(organization)}
    body = text + render_to_string("delivery/_why.txt", context)
    return [EmailMessage(subject, body, to=[reader.email], headers=headers_of(reader, organization, kind))]


def links_of(event: Event, data: dict[str, Any], subscription: Subscription | None) -> dict[str, str]:
    """`link` is the page of exactly that; `link_of_all` that of all dead letters."""
    slug = event.organization.slug
    if subscription is None:
        page = "console:usage" if event.type == NoticeKind.LIMIT_REACHED else "console:overview"
        return {"link": address(page, slug)}
    if event.type != NoticeKind.DEAD_LETTER:
        edits = event.type == NoticeKind.CERTIFICATE_ENDS
        return {
            "link": address("console:edit-subscription" if edits else "console:subscription", slug, subscription.pk)
        }
    return {
        "link": address("console:delivery", slug, subscription.pk, data["delivery_id"]),
        "link_of_all": address("console:dead-letters", slug, subscription.pk),
    }


def address(name: str, *ids: Any) -> str:
    """Of a page, as a mail needs it."""
    return f"{settings.PUBLIC_URL}{reverse(name, args=ids)}"


def one_line(text: str) -> str:
    return " ".join(text.split())


def _subscription(event: Event, data: dict[str, Any]) -> Subscription | None:
    """Unless it was deleted, or the notice is about none."""
    try:
        wanted = UUID(data.get("subscription_id", ""))
    except ValueError:
        return None
    rows = Subscription.objects.for_organization(event.organization_id).not_deleted().light()
    return rows.filter(pk=wanted).first()
