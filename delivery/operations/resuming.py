"""An organization is resumed: what its suspension held goes on at once, rather than with the next sweep."""

from django.db import transaction

from delivery.models import Subscription
from delivery.operations.replays import wake_replays
from delivery.operations.subscription_rows import CLEAN_RECORD
from delivery.wakeup import wake_sending
from organizations.models import Organization


def release_held(organization: Organization) -> None:
    """Send what is due, and go on with replays. Call it in the transaction that resumes.

    Endpoints begin with a clean record: one that failed before the suspension would else be taken for one that has done
    nothing but fail ever since, and be disabled by its first failure.
    """
    failing = Subscription.objects.for_organization(organization.pk).filter(failing_since__isnull=False)
    locked = failing.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True)
    Subscription.objects.filter(pk__in=list(locked)).update(**CLEAN_RECORD)
    transaction.on_commit(wake_sending)
    transaction.on_commit(wake_replays)
