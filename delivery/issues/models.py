"""Issues: one row for each endpoint and error, however often it fails."""

from datetime import datetime
from typing import Self

from django.db import models

from delivery.attempt_errors import error_words
from organizations.models import Organization, TenantQuerySet

MAX_NOTE = 500


class IssueQuerySet(TenantQuerySet["Issue"]):
    def open(self, now: datetime) -> Self:
        """Those that somebody should look at: neither resolved nor muted."""
        return self.filter(models.Q(muted_until=None) | models.Q(muted_until__lte=now), resolved_at=None)

    def muted(self, now: datetime) -> Self:
        """Those that failed lately, but that nobody wants to hear of until then."""
        return self.filter(resolved_at=None, muted_until__gt=now)

    def resolved(self) -> Self:
        """Those whose endpoint has delivered since."""
        return self.filter(resolved_at__isnull=False)


class Issue(models.Model):
    """The failures of one endpoint with one error. Written where outcomes are recorded (delivery.issues.recording).

    `status_code` is 0 but for `http_error`. `opened_at` is when it last began; `count` is of all its failures.
    """

    id = models.UUIDField(primary_key=True)
    organization = models.ForeignKey(
        Organization, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    subscription = models.ForeignKey(
        "delivery.Subscription", on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    error = models.CharField(max_length=40)
    status_code = models.PositiveSmallIntegerField(db_default=0)
    first_seen_at = models.DateTimeField()
    opened_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    last_delivery_id = models.UUIDField()
    count = models.BigIntegerField(db_default=0)
    reopened = models.PositiveIntegerField(db_default=0)
    resolved_at = models.DateTimeField(null=True, blank=True)
    note = models.CharField(max_length=MAX_NOTE, blank=True, db_default="")
    muted_until = models.DateTimeField(null=True, blank=True)

    objects = IssueQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["subscription", "error", "status_code"], name="one_issue_per_endpoint_and_error"
            )
        ]
        indexes = [
            models.Index(fields=["organization", "-last_seen_at"], name="issue_newest"),
            models.Index(fields=["subscription"], name="issue_open", condition=models.Q(resolved_at=None)),
        ]

    @property
    def words(self) -> str:
        """What is wrong, for people."""
        return error_words(self.error, self.status_code)

    def __str__(self) -> str:
        return f"{self.error} {self.status_code}".removesuffix(" 0")
