"""An organization leaves with everything it has, batch by batch, in an order that may be begun again at any time."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.db import transaction
from django.db.models import Exists, ForeignKey, Model, OuterRef
from django.db.models.functions import Now

from core.event_ids import HIGHEST_ID
from delivery.models import Attempt, Delivery, Subscription, SubscriptionStatus
from delivery.operations.retention import remove_any_deliveries, remove_attempts
from ingestion.models import Event, Schedule
from ingestion.operations.retention import remove_events
from lifecycle.models import Erasure, ErasureKind
from lifecycle.retention.steps import Budget, remove_batch, repeated
from organizations.audit import Actor, record
from organizations.jobs.models import JobStatus
from organizations.models import ApiKey, Membership, Organization
from organizations.operations import suspend_organization

# A key of a suspended organization may be taken for about two seconds more, and an event then waits for its commit.
SETTLED_AFTER = timedelta(seconds=15)
REASON = "The organization is being erased."
_PARTITIONED: tuple[type[Model], ...] = (Event, Delivery, Attempt)
# Deliveries are found by their subscriptions; people and keys are the last to go, so that somebody can still look.
_LAST: tuple[type[Model], ...] = (Subscription, Membership, ApiKey)
_OF_SUBSCRIPTIONS: tuple[tuple[type[Model], str, Callable[[UUID], int]], ...] = (
    (Attempt, "attempts", lambda pk: remove_attempts(subscription_id=pk, below=HIGHEST_ID)),
    (Delivery, "deliveries", lambda pk: remove_any_deliveries(subscription_id=pk)),
)
SECONDS_PER_PORTION = 1.0


@transaction.atomic
def start_organization_erasure(*, organization: Organization, actor: Actor) -> Erasure:
    """Suspend it, so that nothing new comes in, and end its subscriptions. An erasure that runs already is returned."""
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
    running = Erasure.objects.filter(
        kind=ErasureKind.ORGANIZATION, organization_id=organization.pk, status=JobStatus.RUNNING
    ).first()
    if running:
        return running
    suspend_organization(organization=organization, reason=REASON, actor=actor)
    subscriptions = Subscription.objects.for_organization(organization.pk).not_deleted()
    subscriptions.update(status=SubscriptionStatus.DELETED, changed_at=Now(), secret="", previous_secret="")
    return Erasure.objects.create(
        kind=ErasureKind.ORGANIZATION,
        organization_id=organization.pk,
        actor_kind=actor.kind,
        actor_label=actor.label[:200],
    )


def erase_organization(erasure: Erasure, now: datetime) -> int | None:
    """A portion of the job: batches of one table for about a second; None while something may still come in."""
    budget = Budget(SECONDS_PER_PORTION)
    for what, batch in _batches(erasure.organization_id):
        if removed := repeated(batch, budget):
            erasure.removed_more(what, removed)
            return removed
    organization = Organization.objects.filter(pk=erasure.organization_id).first()
    # Something may still come in. One that somebody resumed meanwhile waits until it is suspended again.
    if organization and (organization.suspended_at is None or organization.suspended_at > now - SETTLED_AFTER):
        return None
    return _finish(erasure, now)


def models_of_organizations() -> list[type[Model]]:
    """Every model whose rows belong to an organization: one that is added later is not forgotten."""
    return [
        model
        for model in apps.get_models()
        if any(
            isinstance(field, ForeignKey) and field.name == "organization" and field.related_model is Organization
            for field in model._meta.get_fields()
        )
    ]


def _batches(organization_id: UUID) -> Iterator[tuple[str, Callable[[], int]]]:
    subscriptions = Subscription.objects.for_organization(organization_id)
    for table, what, remove in _OF_SUBSCRIPTIONS:
        # Only those that have some: each portion begins here.
        left = Exists(table._default_manager.filter(subscription_id=OuterRef("pk")))
        for pk in subscriptions.filter(left).values_list("pk", flat=True):
            yield what, partial(remove, pk)
    # First, as they keep their events.
    yield "schedules", partial(_remove, Schedule, organization_id)
    yield "events", lambda: remove_events(organization_id=organization_id, below=HIGHEST_ID)
    others = [model for model in models_of_organizations() if model not in (*_PARTITIONED, *_LAST)]
    for model in others:
        yield str(model._meta.verbose_name_plural), lambda model=model: _remove(model, organization_id)  # type: ignore[misc]


def _remove(model: type[Model], organization_id: UUID) -> int:
    return remove_batch(model._default_manager.filter(organization=organization_id).order_by())


def _finish(erasure: Erasure, now: datetime) -> int | None:
    """The rest, when nothing came meanwhile; None when something did."""
    # Whoever processes its last events needs this row, and waits here.
    organization = Organization.objects.select_for_update().filter(pk=erasure.organization_id).first()
    if Event.objects.for_organization(erasure.organization_id).exists():
        return None
    if organization is not None:
        subscriptions = Subscription.objects.for_organization(organization.pk)
        for table in (Delivery, Attempt):
            if table._default_manager.filter(subscription_id__in=subscriptions.values("pk")).exists():
                return None
        for model in models_of_organizations():
            if model not in _PARTITIONED:
                removed = sum(iter(partial(_remove, model, organization.pk), 0))
                erasure.removed_more(str(model._meta.verbose_name_plural), removed)
        LogEntry.objects.filter(content_type__model="organization", object_id=str(organization.pk)).delete()
        organization.delete()
    erasure.end(JobStatus.DONE, now)
    changes: dict[str, Any] = {"organization_id": str(erasure.organization_id), "removed": erasure.removed}
    actor = Actor(kind=erasure.actor_kind, label=erasure.actor_label)
    record(actor=actor, action="organization.erased", target=erasure, organization=None, changes=changes)
    return 1
