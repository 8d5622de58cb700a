"""What stays is bounded: how an operation counts before it adds."""

from uuid import UUID

from core.problems import Problem
from organizations.models import Organization
from organizations.plans import Limits


def hold_limits(organization_id: UUID) -> Limits:
    """The organization's limits, with its row held until the end of the transaction.

    Those who add something to one organization wait for each other here, so that what they count holds.
    """
    return Organization.objects.select_for_update(no_key=True).get(pk=organization_id).limits


def refuse_over(limit: int, *, used: int, what: str, way_out: str) -> None:
    """Raises Problem 409 when there is no room for another one."""
    if used >= limit:
        raise Problem("limit_reached", f"An organization can have {limit} {what}. {way_out}")
