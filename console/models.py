"""What the console keeps for people."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from organizations.jobs.models import Job
from organizations.models import Organization, TenantQuerySet


class SavedViewQuerySet(TenantQuerySet["SavedView"]):
    def of(self, owner_id: int) -> "SavedViewQuerySet":
        """One person's: nobody sees, changes or deletes another one's."""
        return self.filter(owner_id=owner_id)


class SavedView(models.Model):
    """A list of events with its filters, under a name; it belongs to one person in one organization."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, db_index=False, related_name="+")
    name = models.CharField(max_length=60)
    # The query string of the list, as the list itself writes it.
    query = models.CharField(max_length=2000, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = SavedViewQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["organization", "owner", "name"], name="one_saved_view_per_name")
        ]

    def __str__(self) -> str:
        return self.name


class ExportFormat(models.TextChoices):
    CSV = "csv", "CSV"
    NDJSON = "ndjson", "NDJSON"


class ExportStatus(models.TextChoices):
    """Those of a job, and the end of its file."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Export(Job):
    """The events of a list, written until there are no more or too many (see console.exports.jobs)."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, db_index=False, related_name="+"
    )
    format = models.CharField(max_length=10, choices=ExportFormat.choices)
    # The query string of the list, with times in place of a range that moves.
    query = models.TextField(blank=True)
    status = models.CharField(
        max_length=10, choices=ExportStatus.choices, default=ExportStatus.RUNNING, db_default=ExportStatus.RUNNING
    )
    # How many events there are, when an index can tell.
    total = models.BigIntegerField(null=True, blank=True)
    events = models.BigIntegerField(default=0)
    parts = models.PositiveIntegerField(default=0)
    # Bytes as they are stored, and as they are downloaded.
    stored_size = models.BigIntegerField(default=0)
    size = models.BigIntegerField(default=0)
    is_cut = models.BooleanField(default=False)
    expires_at = models.DateTimeField(null=True, blank=True)

    objects = TenantQuerySet["Export"].as_manager()

    class Meta(Job.Meta):
        indexes = [
            *Job.Meta.indexes,
            models.Index(fields=["expires_at"], name="export_expiry", condition=models.Q(status="done")),
        ]

    def __str__(self) -> str:
        return f"{self.get_format_display()} export"


class ExportPart(models.Model):
    """A portion of an export's file, compressed by zlib."""

    export = models.ForeignKey(Export, on_delete=models.CASCADE, db_index=False, related_name="+")
    number = models.PositiveIntegerField()
    body = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["export", "number"], name="one_export_part_per_number")]
