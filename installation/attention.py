"""What needs attention: the front page of the admin. Every question has a bound, so it costs the same at any size."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse

from delivery.admin_queries import count_recent_dead_letters
from delivery.models import Subscription, SubscriptionStatus
from ingestion.models import OutboxEntry, ProcessingFailure
from organizations.models import ApiKey, Organization
from organizations.usage import EXPIRES_SOON

# Whoever has more of something has a problem of another kind.
MAX_COUNTED = 100
# Events are processed within about a second; a minute means that no worker runs.
LATE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Item:
    """`figure` is for people: `3`, `100+`, `2 min`. `is_bad` when somebody should look."""

    label: str
    figure: str
    is_bad: bool
    address: str


def items_for(request: HttpRequest, *, now: datetime) -> list[Item]:
    """What the person may look at. Seven queries at most."""
    return [make(now) for permission, make in _QUESTIONS if request.user.has_perm(permission)]


def _failing(now: datetime) -> Item:
    rows = Subscription.objects.filter(status=SubscriptionStatus.ACTIVE, failing_since__isnull=False)
    return _counted("Failing subscriptions", rows, "admin:delivery_subscription_changelist", "health=failing")


def _disabled(now: datetime) -> Item:
    rows = Subscription.objects.filter(status=SubscriptionStatus.DISABLED)
    return _counted("Disabled subscriptions", rows, "admin:delivery_subscription_changelist", "health=disabled")


def _dead_letters(now: datetime) -> Item:
    """An event dies when its schedule of retries is over, so those that died within a day are older by that much."""
    since = now - timedelta(days=1, seconds=sum(settings.WEBHOOK_RETRY_SCHEDULE) * 1.2)
    count = count_recent_dead_letters(since=since)
    label = f"Dead letters from events of the last {(now - since).days + 1} days"
    return _item(label, count, reverse("admin:delivery_delivery_dead_letters"))


def _failures(now: datetime) -> Item:
    rows = ProcessingFailure.objects.all()
    return _counted("Events that could not be processed", rows, "admin:ingestion_processingfailure_changelist", "")


def _oldest(now: datetime) -> Item:
    seconds = OutboxEntry.objects.oldest_age_seconds()
    shown = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    address = reverse("admin:ingestion_event_changelist")
    return Item(label="Oldest unprocessed event", figure=shown, is_bad=seconds >= LATE_SECONDS, address=address)


def _suspended(now: datetime) -> Item:
    rows = Organization.objects.filter(suspended_at__isnull=False)
    return _counted("Suspended organizations", rows, "admin:organizations_organization_changelist", "state=suspended")


def _expiring(now: datetime) -> Item:
    rows = ApiKey.objects.filter(revoked_at=None, expires_at__gt=now, expires_at__lte=now + EXPIRES_SOON)
    label = f"API keys that expire within {EXPIRES_SOON.days} days"
    return _counted(label, rows, "admin:organizations_apikey_changelist", "state=expiring")


_QUESTIONS: tuple[tuple[str, Callable[[datetime], Item]], ...] = (
    ("delivery.view_subscription", _failing),
    ("delivery.view_subscription", _disabled),
    ("delivery.view_delivery", _dead_letters),
    ("ingestion.view_processingfailure", _failures),
    ("ingestion.view_event", _oldest),
    ("organizations.view_organization", _suspended),
    ("organizations.view_apikey", _expiring),
)


def _counted(label: str, rows: "QuerySet[Any]", page: str, query: str) -> Item:
    count = len(rows.order_by().values_list("pk", flat=True)[: MAX_COUNTED + 1])
    return _item(label, count, reverse(page) + (f"?{query}" if query else ""))


def _item(label: str, count: int, address: str) -> Item:
    figure = str(count) if count <= MAX_COUNTED else f"{MAX_COUNTED}+"
    return Item(label=label, figure=figure, is_bad=count > 0, address=address)
