"""What the platform keeps of its work on organizations as a whole."""

from django.db import models

from organizations.jobs.models import Job


class ErasureKind(models.TextChoices):
    ORGANIZATION = "organization", "an organization with everything it has"
    EVENTS = "events", "events of an organization"
    REDACTION = "redaction", "parts of events of an organization"


class Erasure(Job):
    """Something that leaves for good, batch by batch (see lifecycle.erasing). It names no person.

    `criteria` say which events, with the values that they are found by: they are emptied at the end. `removed` counts
    rows by table.
    """

    kind = models.CharField(max_length=20, choices=ErasureKind.choices)
    # No foreign key: it stays when the organization has gone.
    organization_id = models.UUIDField()
    # The column keeps its name, which the version before reads.
    criteria = models.JSONField(default=dict, blank=True, db_column="wish")
    looked_at = models.BigIntegerField(default=0)
    removed = models.JSONField(default=dict, blank=True)
    actor_kind = models.CharField(max_length=10)
    actor_label = models.CharField(max_length=200)

    class Meta(Job.Meta):
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
