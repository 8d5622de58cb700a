"""Where the page is of what an entry of the audit log is about, as long as there is one."""

from collections.abc import Iterable
from uuid import UUID

from django.urls import reverse

from delivery.models import Delivery, Subscription
from ingestion.models import EventType
from organizations.models import AuditEntry, Organization

# Those whose rows stay as long as somebody would look for them, by the name of the model.
_PAGES = {"replay": "console:replay-progress", "event": "console:event", "deadletterretry": "console:job"}
_LISTS = {"apikey": "console:keys", "membership": "console:members", "invitation": "console:members",
          "organization": "console:overview", "export": "console:exports"}  # fmt: skip


def links_of(organization: Organization, entries: Iterable[AuditEntry]) -> dict[UUID, str]:
    """Entry → address, of those that have one; by a query for each kind of object that may be gone."""
    entries = list(entries)
    slug = organization.slug
    found: dict[UUID, str] = {}
    subscriptions = Subscription.objects.for_organization(organization.pk).not_deleted()
    own = set(subscriptions.filter(pk__in=_ids(entries, "subscription")).values_list("pk", flat=True))
    deliveries = dict(
        Delivery.objects.for_organization(organization.pk)
        .filter(pk__in=_ids(entries, "delivery"))
        .values_list("pk", "subscription_id")
    )
    numbers = [int(entry.target_id) for entry in entries if entry.target_kind == "eventtype"]
    types = set(EventType.objects.filter(organization=organization, pk__in=numbers).values_list("pk", flat=True))
    for entry in entries:
        kind, target = entry.target_kind, entry.target_id
        if kind == "subscription" and UUID(target) in own:
            found[entry.pk] = reverse("console:subscription", args=[slug, target])
        elif kind == "delivery" and UUID(target) in deliveries:
            found[entry.pk] = reverse("console:delivery", args=[slug, deliveries[UUID(target)], target])
        elif kind == "eventtype" and int(target) in types:
            found[entry.pk] = reverse("console:event-type", args=[slug, target])
        elif kind in _PAGES:
            found[entry.pk] = reverse(_PAGES[kind], args=[slug, target])
        elif kind in _LISTS:
            found[entry.pk] = reverse(_LISTS[kind], args=[slug])
    return found


def _ids(entries: Iterable[AuditEntry], kind: str) -> list[str]:
    return [entry.target_id for entry in entries if entry.target_kind == kind]
