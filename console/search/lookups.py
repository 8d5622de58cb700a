"""What an index knows at once: things by their ids and keys, and the few things that have names. One statement."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import CharField, F, OuterRef, Q, QuerySet, Subquery, UUIDField, Value
from django.db.models.functions import Cast
from django.urls import reverse

from console.access import Action, OrganizationContext
from console.models import Export
from console.search.wanted import Wanted
from delivery.models import Attempt, DeadLetterRetry, Delivery, Replay, Subscription
from ingestion.intake.rejections import KEPT, newest_rejections
from ingestion.models import Event, EventType, IdempotencyKey
from organizations.models import ApiKey, Organization, TenantQuerySet

EACH = 5
_KEY_SHOWN = 6
# What is shorter is somewhere in most bodies.
_TELLING = 4


@dataclass(frozen=True, kw_only=True)
class Hit:
    """`what` is the kind of thing in words, `label` what it is called or its id."""

    what: str
    label: str
    url: str
    organization: str


@dataclass(frozen=True)
class _Found:
    kind: str
    id: UUID
    slug: str
    organization: str
    label: str
    of: UUID | None


# Kind → how it is called, the page, and which of `id` and `of` its URL takes after the slug.
_PAGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "event": ("Event", "console:event", ("id",)),
    "key_of_event": ("Event with this idempotency key", "console:event", ("id",)),
    "delivery": ("Delivery", "console:delivery", ("of", "id")),
    "attempt": ("Attempt of a delivery", "console:delivery", ("of", "id")),
    "subscription": ("Subscription", "console:subscription", ("id",)),
    "retry": ("Retry of dead letters", "console:job", ("id",)),
    "replay": ("Replay", "console:replay-progress", ("id",)),
    "export": ("Export", "console:export", ("id",)),
    "key": ("API key", "console:keys", ()),
    "organization": ("Organization", "console:overview", ()),
    "type": ("Event type", "console:organization-events", ()),
}
_ACTIONS = {
    Action.SEE_SUBSCRIPTIONS: {"delivery", "attempt", "subscription", "retry", "replay"},
    Action.SEE_EXPORTS: {"export"},
    Action.SEE_KEYS: {"key"},
}


def look_up(wanted: Wanted, place: OrganizationContext | None) -> list[Hit]:
    """Of one organization, or with None of all, for staff. Never what the person may not see there."""
    parts = [part for kind, part in _parts(wanted, place) if place is None or _may_see(kind, place)]
    if not parts:
        return []
    rows = parts[0].union(*parts[1:], all=True) if len(parts) > 1 else parts[0]
    return [_hit(_Found(*row)) for row in rows]


def rejected_by(wanted: Wanted, place: OrganizationContext | None, *, with_data: bool) -> bool:
    """Whether the organization sent it within the hour, and it was refused: a request's id, or what its body says."""
    text = wanted.value or wanted.text
    if place is None or not text:
        return False
    return any(
        text in (each.request_id, each.type) or (with_data and len(text) >= _TELLING and text in each.beginning)
        for each in newest_rejections(place.organization.pk, limit=KEPT)
    )


def _parts(wanted: Wanted, place: OrganizationContext | None) -> Iterator[tuple[str, QuerySet[Any]]]:
    if wanted.key:
        yield "key", _of(ApiKey.objects.filter(public_id__startswith=wanted.key), "key", place, label="name")
    elif wanted.id:
        yield from _by_id(wanted.id, place)
    elif wanted.text and not wanted.path:
        yield from _by_name(wanted, place)
    if wanted.text and not wanted.path and not wanted.key:
        yield "key_of_event", _by_idempotency_key(wanted.text, place)


def _by_id(pk: UUID, place: OrganizationContext | None) -> Iterator[tuple[str, QuerySet[Any]]]:
    yield "event", _of(Event.objects.filter(pk=pk), "event", place, label="type")
    yield "delivery", _of(Delivery.objects.filter(pk=pk), "delivery", place, of="subscription_id")
    attempts = Attempt.objects.filter(pk=pk)
    yield "attempt", _of(attempts, "attempt", place, pk="delivery_id", of="subscription_id")
    subscriptions = Subscription.objects.not_deleted().filter(pk=pk)
    yield "subscription", _of(subscriptions, "subscription", place, label="name")
    yield "retry", _of(DeadLetterRetry.objects.filter(pk=pk), "retry", place)
    yield "replay", _of(Replay.objects.filter(pk=pk), "replay", place)
    yield "export", _of(Export.objects.filter(pk=pk), "export", place)
    yield "key", _of(ApiKey.objects.filter(pk=pk), "key", place, label="name")
    if place is None:
        yield "organization", _of_organizations(Organization.objects.filter(pk=pk))


def _by_name(wanted: Wanted, place: OrganizationContext | None) -> Iterator[tuple[str, QuerySet[Any]]]:
    text = wanted.text
    named = Q(name__startswith=text[:-1]) if wanted.is_pattern else Q(name=text)
    types = EventType.objects.filter(named, first_seen_at__isnull=False)
    # Its id is a number; its name leads to its events.
    yield "type", _of(types, "type", place, pk="organization_id", label="name")
    subscriptions = Subscription.objects.not_deleted().filter(Q(name__icontains=text) | Q(url__icontains=text))
    yield "subscription", _of(subscriptions, "subscription", place, label="name")
    keys = Q(name__icontains=text)
    if len(text) >= _KEY_SHOWN:
        keys |= Q(public_id__startswith=text)
    yield "key", _of(ApiKey.objects.filter(keys), "key", place, label="name")
    if place is None:
        named = Q(name__icontains=text) | Q(slug__startswith=text.lower())
        yield "organization", _of_organizations(Organization.objects.filter(named))


def _by_idempotency_key(text: str, place: OrganizationContext | None) -> QuerySet[Any]:
    """Of all: a look-up for each organization, as the index begins with it."""
    if place is not None:
        claims = IdempotencyKey.objects.filter(organization_id=place.organization.pk, key=text)
        return _rows(claims, _columns("key_of_event", pk="event_id", label="key"))
    claim = IdempotencyKey.objects.filter(organization_id=OuterRef("pk"), key=text).values("event_id")[:1]
    organizations = Organization.objects.annotate(event=Subquery(claim)).filter(event__isnull=False)
    columns = _columns("key_of_event", pk="event", organization="")
    return _rows(organizations, {**columns, "hit_label": Value(text, CharField())})


_NAMES = ("hit_kind", "hit_id", "hit_slug", "hit_organization", "hit_label", "hit_of")


def _of(
    rows: TenantQuerySet[Any],
    kind: str,
    place: OrganizationContext | None,
    *,
    pk: str = "pk",
    label: str = "",
    of: str = "",
) -> QuerySet[Any]:
    if place is not None:
        rows = rows.for_organization(place.organization.pk)
    return _rows(rows, _columns(kind, pk=pk, label=label, of=of))


def _of_organizations(rows: QuerySet[Organization]) -> QuerySet[Any]:
    return _rows(rows, _columns("organization", organization="", label="name"))


def _rows(rows: QuerySet[Any], columns: dict[str, Any]) -> QuerySet[Any]:
    found: QuerySet[Any] = rows.order_by().annotate(**columns).values_list(*_NAMES)[:EACH]
    return found


def _columns(
    kind: str, *, pk: str = "pk", organization: str = "organization__", label: str = "", of: str = ""
) -> dict[str, Any]:
    return {
        "hit_kind": Value(kind, CharField()),
        "hit_id": Cast(F(pk), UUIDField()),
        "hit_slug": F(f"{organization}slug"),
        "hit_organization": F(f"{organization}name"),
        "hit_label": Cast(F(label), CharField()) if label else Value("", CharField()),
        "hit_of": Cast(F(of), UUIDField()) if of else Cast(Value(None), UUIDField()),
    }


def _may_see(kind: str, place: OrganizationContext) -> bool:
    return all(place.may(action) for action, kinds in _ACTIONS.items() if kind in kinds)


def _hit(found: _Found) -> Hit:
    what, page, arguments = _PAGES[found.kind]
    url = reverse(page, args=[found.slug, *(getattr(found, name) for name in arguments)])
    if found.kind == "type":
        url += "?" + urlencode({"type": found.label})
    return Hit(what=what, label=found.label or str(found.id), url=url, organization=found.organization)
