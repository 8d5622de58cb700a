"""Links into the portal with the sessions that they open, and how the portal of an organization looks."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7

from organizations.models import ApiKey, Organization, TenantQuerySet
from portal.settings.rules import check_accent, check_accent_dark, check_logo_url, check_origin


class Permission(models.TextChoices):
    """MANAGE includes READ."""

    READ = "read"
    MANAGE = "manage"


class PortalLink(models.Model):
    """A link that works once, and the session that it opened. Both end at `expires_at`.

    It reaches the subscriptions with `tag`, or, without one, those of `subscription_ids`. Neither the link's token nor
    that of the session is stored, only their SHA-256.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    # Once it is revoked, its links and their sessions end too.
    api_key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="+")
    tag = models.CharField(max_length=100, blank=True)
    subscription_ids = ArrayField(models.UUIDField(), default=list)
    may_manage = models.BooleanField()
    # Of the subscriptions that are made in the portal.
    filter = models.JSONField(null=True, blank=True)
    token_hash = models.BinaryField(max_length=32, unique=True)
    session_hash = models.BinaryField(max_length=32, unique=True, null=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    # By "Sign out", or by the organization.
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = TenantQuerySet["PortalLink"].as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["organization", "expires_at"], name="portal_link_of_organization"),
            models.Index(fields=["expires_at"], name="portal_link_expiry"),
        ]

    def __str__(self) -> str:
        return f"portal link of {self.reach}"

    @property
    def reach(self) -> str:
        """Whose subscriptions it shows, for people."""
        if self.tag:
            return self.tag
        count = len(self.subscription_ids)
        return "1 subscription" if count == 1 else f"{count} subscriptions"


class PortalAppearance(models.Model):
    """What an organization's portal is called, how it looks, and which pages may embed it."""

    organization = models.OneToOneField(
        Organization, on_delete=models.CASCADE, primary_key=True, related_name="portal_appearance"
    )
    name = models.CharField(
        max_length=100, blank=True, help_text="Shown at the top of each page. Empty: the organization's name."
    )
    logo_url = models.CharField(
        "logo",
        max_length=500,
        blank=True,
        validators=[check_logo_url],
        help_text="The https address of an image, shown 32 pixels high beside the name.",
    )
    accent = models.CharField(
        "colour on light pages",
        max_length=7,
        blank=True,
        validators=[check_accent],
        help_text="Of links and buttons, such as #2f5bd0. Dark enough to read on white.",
    )
    accent_dark = models.CharField(
        "colour on dark pages",
        max_length=7,
        blank=True,
        validators=[check_accent_dark],
        help_text="The same for people whose system is dark, such as #8fb0ff. Light enough to read on black.",
    )
    frame_ancestors = ArrayField(
        models.CharField(max_length=255, validators=[check_origin]),
        default=list,
        blank=True,
        verbose_name="embedded by",
        help_text="The origins of the sites that may show the portal in a frame, one a line, such as"
        " https://app.example.com. Empty: none may.",
    )

    objects = TenantQuerySet["PortalAppearance"].as_manager()

    class Meta:
        verbose_name = "portal"

    def __str__(self) -> str:
        return f"portal of {self.organization}"
