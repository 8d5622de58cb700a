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

TEMPLATES = {
    "subscription.disabled": "delivery/subscription_disabled.txt",
    "delivery.dead_letter": "delivery/dead_letter.txt",
    "organization.limit_reached": "delivery/limit_reached.txt",
    "subscription.certificate_ends": "delivery/certificate_ends.txt",
}


def compose_notice(event: Event, *, title: str, addresses: list[str]) -> EmailMessage:
    """`event` is the notice, of a type in TEMPLATES; what it is about may be gone."""
    data = msgspec.json.decode(event.data)
    subscription = _subscription(event, data)
    # A name may hold line breaks, a header must not.
    name = " ".join(event.organization.name.split())
    context = {
        "name": name,
        "data": data,
        "subscription": subscription.label if subscription else data.get("subscription_id", ""),
        "failing_since": subscription and subscription.failing_since and format_time(subscription.failing_since),
        "at": format_time(event.time or event.received_at),
        **_links(event, data, subscription),
    }
    about = f" ({_one_line(subscription.label)})" if subscription else ""
    body = render_to_string(TEMPLATES[event.type], context)
    return EmailMessage(subject=f"{title}{about}: {name}", body=body, to=addresses)


def _subscription(event: Event, data: dict[str, Any]) -> Subscription | None:
    """Unless it was deleted, or the notice is about none."""
    try:
        wanted = UUID(data.get("subscription_id", ""))
    except ValueError:
        return None
    rows = Subscription.objects.for_organization(event.organization_id).not_deleted().light()
    return rows.filter(pk=wanted).first()


def _links(event: Event, data: dict[str, Any], subscription: Subscription | None) -> dict[str, str]:
    """`link` is the page of exactly that; `link_of_all` that of all dead letters."""
    slug = event.organization.slug
    if subscription is None:
        page = "console:usage" if event.type == "organization.limit_reached" else "console:overview"
        return {"link": _address(page, slug)}
    if event.type != "delivery.dead_letter":
        edits = event.type == "subscription.certificate_ends"
        return {
            "link": _address("console:edit-subscription" if edits else "console:subscription", slug, subscription.pk)
        }
    return {
        "link": _address("console:delivery", slug, subscription.pk, data["delivery_id"]),
        "link_of_all": _address("console:dead-letters", slug, subscription.pk),
    }


def _address(name: str, *ids: Any) -> str:
    return f"{settings.PUBLIC_URL}{reverse(name, args=ids)}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
