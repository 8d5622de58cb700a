"""Who gets events (subscriptions), and each event's way to them (deliveries)."""

from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7

from organizations.models import Organization, TenantQuerySet

DEFAULT_INBOX = "default"


class Kind(models.TextChoices):
    WEBHOOK = "webhook"
    INBOX = "inbox"


class DeliveryStatus(models.TextChoices):
    PENDING = "pending"
    DELIVERED = "delivered"


class Subscription(models.Model):
    """Where an organization wants events to go. Each has the inbox `default`, which takes every event."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="subscriptions")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    name = models.CharField(max_length=100)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = TenantQuerySet["Subscription"].as_manager()

    class Meta:
        ordering = ["organization", "name"]
        constraints = [
            models.UniqueConstraint(fields=["organization", "kind", "name"], name="one_subscription_per_name")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Delivery(models.Model):
    """One event on its way to one subscription; partitioned by week of `id`, like the events."""

    id = models.UUIDField(primary_key=True)
    organization = models.ForeignKey(
        Organization, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    subscription = models.ForeignKey(
        Subscription, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    event_id = models.UUIDField()
    status = models.CharField(max_length=15, choices=DeliveryStatus.choices)
    created_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True, blank=True)

    objects = TenantQuerySet["Delivery"].as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        indexes = [
            models.Index(fields=["subscription", "id"], name="delivery_pending", condition=models.Q(status="pending")),
            models.Index(fields=["subscription", "-id"], name="delivery_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.status} {self.id}"
