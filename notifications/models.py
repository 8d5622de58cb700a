"""What there is to be told, where it goes beside events and mails, and who wants which mails."""

from django.conf import settings
from django.db import models

from organizations.models import Organization, TenantQuerySet


class NoticeKind(models.TextChoices):
    """The event's type, and what the mail is about."""

    SUBSCRIPTION_DISABLED = "subscription.disabled", "A subscription was disabled"
    DEAD_LETTER = "delivery.dead_letter", "An event could not be delivered"
    LIMIT_REACHED = "organization.limit_reached", "The event limit was reached"
    CERTIFICATE_ENDS = "subscription.certificate_ends", "A client certificate ends soon"


class Timing(models.TextChoices):
    """When a person is mailed a notice."""

    AT_ONCE = "at_once", "At once"
    DAILY = "daily", "In the daily mail"
    NEVER = "never", "Not at all"


class SlackChannel(models.Model):
    """An incoming webhook of Slack, or of what understands the same: its address is the secret, and encrypted."""

    organization = models.OneToOneField(Organization, on_delete=models.CASCADE, primary_key=True, related_name="+")
    url = models.TextField()
    # Of the last message: when it was posted, or else why not.
    posted_at = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=300, blank=True)
    # What is to be posted, in one message: of each kind of notice the event's id; WELCOME has none.
    pending = models.JSONField(db_default={})
    # When it is tried next; a claim moves it forward, as a mail's. Null while there is nothing to post. No index:
    # there is a row for an organization at most, and a look every few seconds.
    due_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(db_default=0)

    objects = TenantQuerySet["SlackChannel"].as_manager()

    def __str__(self) -> str:
        return f"Slack channel of {self.organization}"


class NoticePreference(models.Model):
    """When a member wants to be mailed a kind of notice. Without a row owners are mailed at once, and others never."""

    # The constraint below is its index.
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, db_index=False, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=40, choices=NoticeKind.choices)
    timing = models.CharField(max_length=10, choices=Timing.choices)
    # What the next daily mail begins with.
    told_until = models.DateTimeField()

    objects = TenantQuerySet["NoticePreference"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "user", "kind"], name="one_preference_for_a_kind"),
            models.CheckConstraint(condition=models.Q(timing__in=Timing.values), name="preference_timing_known"),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.timing}"


class DailyMail(models.Model):
    """When a person's daily mails are due next: at an hour of the person's own time zone. Null while none is wanted."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="+")
    time_zone = models.CharField(max_length=64, default="UTC")
    due_at = models.DateTimeField(null=True, db_index=True)

    objects = models.Manager["DailyMail"]()

    def __str__(self) -> str:
        return f"daily mail of {self.user_id}"
