"""What is kept of a job, whatever its kind."""

from datetime import datetime
from uuid import UUID

from django.db import models
from django.utils import timezone
from uuid_utils.compat import uuid7


class JobStatus(models.TextChoices):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job(models.Model):
    """Work that is done portion by portion in the background (see organizations.jobs.running).

    `cursor` is the last row that was looked at: a killed portion is simply done again from there. `failures` are those
    in a row, `failure` says for people why the last one was. A kind may have statuses of its own beside JobStatus.
    """

    organization_id: UUID

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    status = models.CharField(
        max_length=10, choices=JobStatus.choices, default=JobStatus.RUNNING, db_default=JobStatus.RUNNING
    )
    cursor = models.UUIDField(null=True, blank=True)
    failures = models.PositiveSmallIntegerField(default=0, db_default=0)
    failure = models.CharField(max_length=200, blank=True, default="", db_default="")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True
        ordering = ["-id"]
        indexes = [models.Index(fields=["id"], name="%(class)s_running", condition=models.Q(status="running"))]

    @property
    def is_running(self) -> bool:
        return bool(self.status == JobStatus.RUNNING)

    def end(self, status: JobStatus, now: datetime) -> None:
        """Set it on this object; whoever holds the row saves it."""
        self.status, self.finished_at = status, now
