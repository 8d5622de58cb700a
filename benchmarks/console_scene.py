"""What the pages are about: in a seeded database, the largest organization, and one object of each kind of page."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.utils import timezone

from benchmarks.console_past import make_past
from console.models import Export, ExportFormat, SavedView
from delivery.models import (
    Attempt,
    DeadLetterRetry,
    Delivery,
    DeliveryStatus,
    Issue,
    Replay,
    RetryOutcomes,
    Subscription,
    SubscriptionKind,
)
from ingestion.models import Event, EventType
from organizations.audit import Actor
from organizations.keys.scopes import Scope
from organizations.models import ApiKey, Invitation, Membership, Organization, Role
from organizations.operations import issue_key
from organizations.operations.invitations import invitation_token
from portal.links import LinkRequest, create_link, open_link

_ACTOR = Actor.system("console benchmark")
# Beyond a first page, and still within every range.
_OLDER = 500


@dataclass(frozen=True, kw_only=True)
class Scene:
    """`arguments` by the names in the URLs, `objects` by `app_model` for the admin, `texts` for queries.

    `portal_session` is the token of a customer's.
    """

    staff: User
    member: User
    arguments: dict[str, Any]
    objects: dict[str, Any]
    texts: dict[str, str]
    portal_session: str


def make_scene() -> Scene:
    """Adds what `seed` does not make, once."""
    largest = Organization.objects.get(name="Seeded 0")
    staff, member = _people(largest)
    webhook = Subscription.objects.get(organization=largest, kind=SubscriptionKind.WEBHOOK)
    dead = _deliveries(webhook, DeliveryStatus.DEAD_LETTER)[0]
    event = Event.objects.get(pk=dead.event_id)
    make_past(largest, webhook, dead)
    made = _made(largest, member, webhook)
    arguments = {
        "slug": largest.slug,
        "event_id": event.pk,
        "delivery_id": dead.pk,
        "number": _last_attempt(dead),
        "subscription_id": webhook.pk,
        "type_id": EventType.objects.get(organization=largest, name=event.type).pk,
        "membership_id": Membership.objects.get(organization=largest, user=member).pk,
        "session_id": 1,
        **made,
        "token": invitation_token(Invitation.objects.get(pk=made["invitation_id"])),
    }
    objects = {
        **_newest_of_each_model(),
        "organizations_organization": largest.pk,
        "organizations_membership": arguments["membership_id"],
        "organizations_apikey": made["key_id"],
        "delivery_subscription": webhook.pk,
        "delivery_delivery": dead.pk,
        "ingestion_event": event.pk,
        "ingestion_eventtype": arguments["type_id"],
        "auth_user": member.pk,
        # `retry-all/<pk>` is about a subscription.
        "delivery_delivery_retry_all": webhook.pk,
    }
    texts = _texts(largest, webhook, dead, event)
    session = _portal_session(largest, made["key_id"], webhook)
    return Scene(staff=staff, member=member, arguments=arguments, objects=objects, texts=texts, portal_session=session)


def _portal_session(organization: Organization, key_id: Any, webhook: Subscription) -> str:
    """By a tag, as links have that may add endpoints."""
    Subscription.objects.filter(pk=webhook.pk).update(tags=["customer"])
    wanted = LinkRequest(tag="customer", may_manage=True, lifetime=timedelta(hours=12))
    now = timezone.now()
    _, token = create_link(organization=organization, wanted=wanted, key_id=key_id, actor=_ACTOR, now=now)
    opened = open_link(token=token, actor=_ACTOR, now=now)
    if opened is None or opened[1] is None:
        raise LookupError("portal")
    return opened[1]


def _last_attempt(delivery: Delivery) -> int:
    return Attempt.objects.filter(delivery_id=delivery.pk).latest("pk").number


def _texts(organization: Organization, webhook: Subscription, dead: Delivery, event: Event) -> dict[str, str]:
    """What queries are made of."""
    inbox = Subscription.objects.get(organization=organization, kind=SubscriptionKind.INBOX)
    older = Event.objects.for_organization(organization.pk).order_by("-pk")[_OLDER]
    return {
        "event": str(event.pk),
        "delivery": str(dead.pk),
        "organization": str(organization.pk),
        "subscription": str(webhook.pk),
        "inbox": str(inbox.pk),
        "subject": event.subject or "",
        "earlier_attempt": str(max(1, _last_attempt(dead) - 1)),
        "today": f"{timezone.now():%Y-%m-%d}",
        "older": str(older.pk),
        "older_delivery": str(_deliveries(inbox, DeliveryStatus.DELIVERED, skip=_OLDER)[0].pk),
    }


def _newest_of_each_model() -> dict[str, Any]:
    """By `app_model`, of what the admin has pages for."""
    found: dict[str, Any] = {}
    for model in admin.site._registry:
        newest = model._default_manager.order_by("-pk").values_list("pk", flat=True)[:1]
        found |= {f"{model._meta.app_label}_{model._meta.model_name}": pk for pk in newest}
    return found


def _people(organization: Organization) -> tuple[User, User]:
    staff, _ = User.objects.get_or_create(username="bench-staff", defaults={"is_staff": True, "is_superuser": True})
    member, _ = User.objects.get_or_create(username="bench-member", defaults={"email": "member@example.com"})
    Membership.objects.get_or_create(organization=organization, user=member, defaults={"role": Role.OWNER})
    return staff, member


def _deliveries(subscription: Subscription, status: DeliveryStatus, *, skip: int = 0) -> list[Delivery]:
    rows = Delivery.objects.filter(subscription=subscription, status=status).order_by("-pk")
    return list(rows[skip : skip + 1])


def _made(organization: Organization, member: User, webhook: Subscription) -> dict[str, Any]:
    now = timezone.now()
    key = ApiKey.objects.filter(organization=organization).first()
    if key is None:
        key = issue_key(organization=organization, name="Console", scopes=list(Scope), actor=_ACTOR).key
    view, _ = SavedView.objects.get_or_create(organization=organization, owner=member, name="Invoices")
    export, _ = Export.objects.get_or_create(organization=organization, created_by=member, format=ExportFormat.CSV)
    invitation, _ = Invitation.objects.update_or_create(
        organization=organization,
        email="invited@example.com",
        defaults={"expires_at": now + timedelta(days=1), "invited_by": member},
    )
    replay, _ = Replay.objects.get_or_create(
        organization=organization,
        subscription=webhook,
        defaults={"received_after": now - timedelta(hours=1), "received_before": now, "total": 1000},
    )
    retry, _ = DeadLetterRetry.objects.get_or_create(
        organization=organization, subscription=webhook, defaults={"total": 1000, "event_types": ["*"], "error": ""}
    )
    RetryOutcomes.objects.get_or_create(retry=retry)
    return {
        "key_id": key.pk,
        "view_id": view.pk,
        "export_id": export.pk,
        "invitation_id": invitation.pk,
        "replay_id": replay.pk,
        "job_id": retry.pk,
        "issue_id": Issue.objects.get(subscription=webhook, status_code=503).pk,
    }
