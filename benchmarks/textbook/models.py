import uuid
from typing import Any

from django.db import models


class Organization(models.Model):
    objects: "models.Manager[Organization]" = models.Manager()

    name = models.CharField(max_length=100, unique=True)
    events_per_minute = models.PositiveIntegerField(default=100)

    def __str__(self) -> str:
        return self.name

    @property
    def is_authenticated(self) -> bool:
        """DRF's IsAuthenticated asks for it."""
        return True


class ApiKey(models.Model):
    objects: "models.Manager[ApiKey]" = models.Manager()

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="api_keys")
    key_hash = models.CharField(max_length=64, unique=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)


class Event(models.Model):
    objects: "models.Manager[Event]" = models.Manager()

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="events")
    type = models.CharField(max_length=255)
    source = models.CharField(max_length=255, null=True, blank=True)
    subject = models.CharField(max_length=255, null=True, blank=True)
    time = models.DateTimeField(null=True, blank=True)
    data: "models.JSONField[Any, Any]" = models.JSONField()
    idempotency_key = models.CharField(max_length=255, null=True, blank=True)
    received_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "idempotency_key"], name="one_event_per_idempotency_key")
        ]
        indexes = [
            models.Index(fields=["organization", "-received_at"], name="newest"),
            models.Index(fields=["organization", "type", "-received_at"], name="newest_of_type"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class Subscription(models.Model):
    objects: "models.Manager[Subscription]" = models.Manager()

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="subscriptions")
    url = models.URLField()
    secret = models.CharField(max_length=64)


class Delivery(models.Model):
    objects: "models.Manager[Delivery]" = models.Manager()

    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="deliveries")
    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="deliveries")
    status = models.CharField(max_length=20, default="pending")
    attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    delivered_at = models.DateTimeField(null=True, blank=True)


class Attempt(models.Model):
    objects: "models.Manager[Attempt]" = models.Manager()

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="tries")
    started_at = models.DateTimeField()
    status_code = models.PositiveIntegerField(null=True)
    error = models.CharField(max_length=200, blank=True)
