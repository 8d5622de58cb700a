"""Add, change and remove the members of an organization."""

from collections.abc import Sequence
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from core.problems import Problem
from organizations.audit import Actor, record
from organizations.models import Membership, Organization, Role
from rest.versions import require_version


@transaction.atomic
def add_member(*, organization: Organization, user: User, role: str, actor: Actor) -> Membership:
    """A new membership. Raises IntegrityError when the user is a member already."""
    membership = Membership.objects.create(organization=organization, user=user, role=role)
    record(
        actor=actor,
        action="member.added",
        target=membership,
        organization=organization,
        changes={"role": role},
    )
    return membership


@transaction.atomic
def change_role(
    *,
    membership: Membership,
    role: str,
    actor: Actor,
    may_change_owners: bool = True,
    keeps_owner: bool = False,
    expected: Sequence[str] | None = None,
) -> bool:
    """Give the member another role; False when it is the role already.

    Raises Problem 404 when it was just removed, 403 when an owner may not be changed or made, and with `keeps_owner`
    409 for the last owner: only the platform's staff may leave an organization without one. 412 when the role is not
    one of the versions of changeable_fields() for which the change was meant; None is any.
    """
    locked = _lock(membership, keeps_owner=keeps_owner)
    old = locked.role
    if old == role:
        return False
    require_version(expected, changeable_fields(locked))
    _require_owner_rights(old, role, may_change_owners=may_change_owners)
    if keeps_owner:
        _refuse_last_owner(membership, old)
    Membership.objects.filter(pk=membership.pk).update(role=role)
    record(actor=actor, action="member.role_changed", target=membership, organization=membership.organization,
           changes={"role": [old, role]})  # fmt: skip
    return True


def changeable_fields(membership: Membership) -> dict[str, Any]:
    """What change_role() can set, as it is; rest.versions makes the version from it."""
    return {"role": str(membership.role)}


@transaction.atomic
def remove_member(
    *, membership: Membership, actor: Actor, may_change_owners: bool = True, keeps_owner: bool = False
) -> None:
    """End the membership; the person's account stays. Raises what change_role() raises."""
    role = _lock(membership, keeps_owner=keeps_owner).role
    _require_owner_rights(role, may_change_owners=may_change_owners)
    if keeps_owner:
        _refuse_last_owner(membership, role)
    record(actor=actor, action="member.removed", target=membership, organization=membership.organization)
    membership.delete()


def _lock(membership: Membership, *, keeps_owner: bool) -> Membership:
    """The row as it is now. With the organization's, so that two owners who leave at once wait for each other."""
    if keeps_owner:
        Organization.objects.select_for_update(no_key=True).get(pk=membership.organization_id)
    locked = Membership.objects.select_for_update().filter(pk=membership.pk).first()
    if locked is None:
        raise Problem("not_found")
    return locked


def _require_owner_rights(*roles: str, may_change_owners: bool) -> None:
    if Role.OWNER in roles and not may_change_owners:
        raise Problem("permission_denied", "Only an owner can change an owner, or make one.")


def _refuse_last_owner(membership: Membership, role: str) -> None:
    owners = Membership.objects.for_organization(membership.organization_id).filter(role=Role.OWNER)
    if role == Role.OWNER and not owners.exclude(pk=membership.pk).exists():
        raise Problem("wrong_state", "This is the last owner. Make somebody else an owner first.")
