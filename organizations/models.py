"""Organizations (the tenants), their members and API keys, and the audit log."""

from typing import Self, TypeVar
from uuid import UUID

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from uuid_utils.compat import uuid7

from organizations.plans import Limits, Plan, limits_of

M = TypeVar("M", bound=models.Model)


class TenantQuerySet(models.QuerySet[M]):
    """Every query on behalf of a tenant starts with for_organization: the one place that separates tenants."""

    def for_organization(self, organization_id: UUID) -> Self:
        return self.filter(organization_id=organization_id)


class Organization(models.Model):
    """A tenant. What ends in `_override` replaces the plan's limit."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=63, unique=True)
    plan = models.CharField(max_length=20, choices=Plan.choices, default=Plan.FREE)
    events_per_minute_override = models.PositiveIntegerField(null=True, blank=True)
    retention_days_override = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    subscriptions_override = models.PositiveIntegerField(null=True, blank=True)
    suspended_at = models.DateTimeField(null=True, blank=True, editable=False)
    suspended_reason = models.CharField(max_length=500, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]
        permissions = [("suspend_organization", "Can suspend and resume an organization")]
        # Whoever sends asks again and again which these are; they are few among many.
        indexes = [
            models.Index(fields=["id"], name="organization_suspended", condition=models.Q(suspended_at__isnull=False))
        ]
        constraints = [
            models.CheckConstraint(condition=models.Q(plan__in=Plan.values), name="organization_plan_known"),
            models.UniqueConstraint(
                Lower("slug"),
                name="organization_slug_without_case",
                violation_error_message="There is an organization with this slug already.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def limits(self) -> Limits:
        """The plan's limits with this organization's overrides."""
        return limits_of(
            self.plan,
            events_per_minute=self.events_per_minute_override,
            retention_days=self.retention_days_override,
            subscriptions=self.subscriptions_override,
        )


class Role(models.TextChoices):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


class Membership(models.Model):
    """A person's role in an organization."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = TenantQuerySet["Membership"].as_manager()

    class Meta:
        ordering = ["organization", "user"]
        constraints = [models.UniqueConstraint(fields=["organization", "user"], name="one_membership_per_user")]

    def __str__(self) -> str:
        return f"{self.user} in {self.organization}: {self.role}"


class ApiKey(models.Model):
    """A key of an organization; the plaintext is shown once, the row holds its SHA-256."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    public_id = models.CharField(max_length=12, unique=True, editable=False)
    key_hash = models.BinaryField(max_length=32, editable=False)
    scopes = ArrayField(models.CharField(max_length=30))
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = TenantQuerySet["ApiKey"].as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.public_id}…)"


class AuditEntry(models.Model):
    """Who changed what, and when. Written by the operations, in the transaction of the change."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.SET_NULL, null=True, blank=True)
    actor_kind = models.CharField(max_length=10)
    actor_label = models.CharField(max_length=200)
    action = models.CharField(max_length=50)
    target_kind = models.CharField(max_length=50)
    target_id = models.CharField(max_length=50)
    target_label = models.CharField(max_length=250)
    changes = models.JSONField(default=dict)
    address = models.GenericIPAddressField(null=True, blank=True)
    # What the client called itself; processes of an older version leave it out.
    user_agent = models.CharField(max_length=200, blank=True, db_default="")
    created_at = models.DateTimeField(default=timezone.now)

    objects = TenantQuerySet["AuditEntry"].as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["organization", "-id"], name="audit_newest"),
            models.Index(fields=["target_id", "-id"], name="audit_of_object"),
        ]

    def __str__(self) -> str:
        return f"{self.actor_label}: {self.action} {self.target_label}"


class Invitation(models.Model):
    """Somebody is asked by mail to become a member. It is open until it is accepted, withdrawn or expired."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)
    invited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True, editable=False)
    accepted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    withdrawn_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = TenantQuerySet["Invitation"].as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "email"],
                name="one_open_invitation_per_email",
                condition=models.Q(accepted_at__isnull=True, withdrawn_at__isnull=True),
            )
        ]

    def __str__(self) -> str:
        return f"{self.email} as {self.role}"
