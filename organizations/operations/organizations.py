"""Create, change, suspend and resume an organization."""

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.utils import timezone

from core.registry import Registry
from organizations.audit import Actor, record
from organizations.models import Organization

# Called with an organization that is resumed, as it was before, inside the transaction that resumes it.
resume_listeners: Registry[Callable[[Organization], None]] = Registry()


@transaction.atomic
def create_organization(*, name: str, slug: str, plan: str, actor: Actor) -> Organization:
    """A new organization. Raises IntegrityError when the slug is taken."""
    organization = Organization.objects.create(name=name, slug=slug, plan=plan)
    record(actor=actor, action="organization.created", target=organization, organization=organization,
           changes={"plan": plan})  # fmt: skip
    return organization


@transaction.atomic
def update_organization(*, organization: Organization, changes: dict[str, Any], actor: Actor) -> Organization:
    """Set the fields of `changes`; the audit entry tells each field's old and new value."""
    locked = Organization.objects.select_for_update().get(pk=organization.pk)
    differences = {
        field: [getattr(locked, field), value] for field, value in changes.items() if getattr(locked, field) != value
    }
    if differences:
        for field, (_, value) in differences.items():
            setattr(locked, field, value)
        locked.save(update_fields=list(differences))
        record(
            actor=actor,
            action="organization.updated",
            target=locked,
            organization=locked,
            changes=differences,
        )
    return locked


@transaction.atomic
def suspend_organization(*, organization: Organization, reason: str, actor: Actor) -> bool:
    """Nothing comes in or goes out any more, and its pages only show; False when it was suspended already.

    What is in flight ends by itself. Events that were accepted are still processed, and wait with all the rest.
    """
    moved = Organization.objects.filter(pk=organization.pk, suspended_at=None).update(
        suspended_at=timezone.now(), suspended_reason=reason
    )
    if moved:
        record(actor=actor, action="organization.suspended", target=organization, organization=organization,
               changes={"reason": reason})  # fmt: skip
    return bool(moved)


@transaction.atomic
def resume_organization(*, organization: Organization, actor: Actor) -> bool:
    """Let it go on, with what was held first; False when it was not suspended."""
    suspended = Organization.objects.filter(pk=organization.pk, suspended_at__isnull=False)
    locked = suspended.select_for_update(no_key=True).first()
    if locked is None:
        return False
    suspended.update(suspended_at=None, suspended_reason="")
    record(actor=actor, action="organization.resumed", target=locked, organization=locked)
    for listener in resume_listeners:
        listener(locked)
    return True
