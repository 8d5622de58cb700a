"""Add, change and remove the members of an organization."""

from django.contrib.auth.models import User
from django.db import transaction

from organizations.audit import Actor, record
from organizations.models import Membership, Organization


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
def change_role(*, membership: Membership, role: str, actor: Actor) -> bool:
    """Give the member another role; False when it is the role already."""
    old = Membership.objects.select_for_update().get(pk=membership.pk).role
    if old == role:
        return False
    Membership.objects.filter(pk=membership.pk).update(role=role)
    record(actor=actor, action="member.role_changed", target=membership, organization=membership.organization,
           changes={"role": [old, role]})  # fmt: skip
    return True


@transaction.atomic
def remove_member(*, membership: Membership, actor: Actor) -> None:
    """End the membership; the person's account stays."""
    record(actor=actor, action="member.removed", target=membership, organization=membership.organization)
    membership.delete()
