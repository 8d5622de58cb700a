"""What the platform keeps of its work on organizations as a whole."""

from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7


class ErasureKind(models.TextChoices):
    ORGANIZATION = "organization", "an organization with everything it has"
    EVENTS = "events", "events of an organization"
    REDACTION = "redaction", "parts of events of an organization"


class ErasureStatus(models.TextChoices):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Erasure(models.Model):
    """Something that leaves for good, batch by batch (see lifecycle.erasing). It names no person.

    `wish` says which events, with the values that they are found by: it is emptied at the end. `cursor` is the last
    event that was looked at: a killed batch is simply done again from there. `removed` counts rows by table.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=20, choices=ErasureKind.choices)
    # No foreign key: it stays when the organization has gone.
    organization_id = models.UUIDField()
    status = models.CharField(max_length=10, choices=ErasureStatus.choices, default=ErasureStatus.RUNNING)
    wish = models.JSONField(default=dict, blank=True)
    cursor = models.UUIDField(null=True, blank=True)
    looked_at = models.BigIntegerField(default=0)
    removed = models.JSONField(default=dict, blank=True)
    failures = models.PositiveSmallIntegerField(default=0)
    actor_kind = models.CharField(max_length=10)
    actor_label = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["id"], name="erasure_running", condition=models.Q(status="running"))]
        constraints = [
            models.UniqueConstraint(
                fields=["organization_id"],
                name="one_erasure_of_an_organization",
                condition=models.Q(kind="organization", status="running"),
            )
        ]

    def __str__(self) -> str:
        return f"erasure of {self.kind} {self.id}"

    def removed_more(self, what: str, count: int) -> None:
        """Add to the counts of this object; the caller saves it."""
        if count:
            self.removed[what] = self.removed.get(what, 0) + count


class SchemaVersion(models.Model):
    """One row: the newest version that has migrated these data, and the oldest that may run on them."""

    id = models.PositiveSmallIntegerField(primary_key=True)
    version = models.CharField(max_length=40)
    oldest = models.CharField(max_length=40)
