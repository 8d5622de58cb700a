"""Events and what is kept about them. An event's row never changes; its status is derived (docs/adr/0004)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Coalesce
from django.db.models.lookups import IsNull
from django.utils import timezone

from ingestion.fields import MAX_REFERENCE
from ingestion.formats.stored_numbers import with_exponents
from organizations.models import Organization, TenantQuerySet

# What somebody of the staff needs to read the data of events; members read their own organization's by their role.
VIEW_PAYLOAD = "ingestion.view_payload"


class EventStatus(StrEnum):
    ACCEPTED = "accepted"
    PROCESSED = "processed"
    FAILED = "failed"
    SCHEDULED = "scheduled"
    CANCELLED = "cancelled"


class JSONTextField(models.JSONField):
    """jsonb that is read as its JSON text: pages and answers pass it on, parsing it would be wasted."""

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return None if value is None else with_exponents(value)


class EventQuerySet(TenantQuerySet["Event"]):
    def of_type(self, pattern: str) -> Self:
        """Events of exactly this type, or of every type that starts so when `pattern` ends in `*`."""
        if pattern.endswith("*"):
            return self.filter(type__startswith=pattern[:-1])
        return self.filter(type=pattern)

    def with_status(self) -> Self:
        """Adds `deliver_at`, or None, and `status`, an EventStatus.

        Scheduled or cancelled if its schedule says so; an outbox entry left → accepted; a failure → failed; else
        processed.
        """
        return self.annotate(
            deliver_at=models.Subquery(_schedule().values("deliver_at")),
            status=Coalesce(
                models.Subquery(_schedule().not_handed_on().values("status")),
                models.Case(
                    models.When(_is_there(_outbox_entry()), then=models.Value(EventStatus.ACCEPTED.value)),
                    models.When(_is_there(_failure()), then=models.Value(EventStatus.FAILED.value)),
                    default=models.Value(EventStatus.PROCESSED.value),
                ),
            ),
        )

    def of_status(self, status: EventStatus) -> Self:
        """Those that with_status() gives this status, by conditions that an index can answer."""
        conditions = {
            EventStatus.ACCEPTED: models.Q(_is_waiting()),
            EventStatus.FAILED: models.Q(_has_failed()),
            EventStatus.SCHEDULED: models.Q(models.Exists(_schedule().filter(status=ScheduleStatus.SCHEDULED))),
            EventStatus.CANCELLED: models.Q(models.Exists(_schedule().filter(status=ScheduleStatus.CANCELLED))),
            EventStatus.PROCESSED: ~models.Q(_is_waiting())
            & ~models.Q(_has_failed())
            & ~models.Q(models.Exists(_schedule().not_handed_on())),
        }
        return self.filter(conditions[status])


def _is_waiting() -> models.Exists:
    return models.Exists(_outbox_entry())


def _has_failed() -> models.Exists:
    return models.Exists(_failure())


def _is_there(rows: "models.QuerySet[Any]") -> IsNull:
    """As a column: for an EXISTS, PostgreSQL would hash all rows that there are, to look up the 50 events of a page."""
    return IsNull(models.Subquery(rows.values("pk")[:1]), False)  # noqa: FBT003 - as Django has it


def _outbox_entry() -> "models.QuerySet[OutboxEntry]":
    return OutboxEntry.objects.filter(pk=models.OuterRef("batch_id"))


def _failure() -> "models.QuerySet[ProcessingFailure]":
    return ProcessingFailure.objects.filter(event_id=models.OuterRef("pk")).order_by()


def _schedule() -> "ScheduleQuerySet":
    return Schedule.objects.filter(pk=models.OuterRef("pk"))


class Event(models.Model):
    """One event. The table is partitioned by week of `id`; there is no foreign key constraint on the hot path."""

    id = models.UUIDField(primary_key=True)
    organization = models.ForeignKey(
        Organization, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    type = models.CharField(max_length=255, db_collation="C")
    source = models.CharField(max_length=MAX_REFERENCE, null=True)
    subject = models.CharField(max_length=MAX_REFERENCE, null=True)
    time = models.DateTimeField(null=True)
    # JSON as it was sent. The other one is for the version before: its events have nothing else, and events for it have
    # both (docs/adr/0020).
    data_text = models.TextField(null=True)
    data_jsonb = JSONTextField(null=True, db_column="data")
    idempotency_key = models.CharField(max_length=255, null=True)
    received_at = models.DateTimeField()
    batch_id = models.UUIDField()
    # `{"attributes"?: {…}, "schedule"?: {…}, "schema_errors"?: […], "headers"?: {…}, "headers_left_out"?: <count>,
    # "traceparent"?: "…"}`: CloudEvents attributes without a column of their own, `deliver_at` or `delay_seconds` as it
    # was given, what a schema in `warn` mode found, what is kept of the request's headers, and the span that took the
    # request in, when traces are on.
    annotations = JSONTextField(null=True)
    # Only on events of a query with_status().
    status: str
    deliver_at: datetime | None

    objects = EventQuerySet.as_manager()

    class Meta:
        permissions = [("view_payload", "Can read the data of tenants' events")]
        indexes = [
            models.Index(fields=["organization", "id"], name="event_of_organization"),
            models.Index(fields=["organization", "type", "id"], name="event_of_type"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"

    @property
    def data(self) -> str:
        """JSON text."""
        return self.data_jsonb if self.data_text is None else self.data_text


# What may be large of an event, and how it is read where that matters: no jsonb beside the text.
LARGE_COLUMNS = ("data_text", "data_jsonb", "annotations")
LARGE: Mapping[str, models.F | models.Case] = {
    "data_text": models.F("data_text"),
    "data_jsonb": models.Case(models.When(data_text=None, then=models.F("data_jsonb"))),
    "annotations": models.F("annotations"),
}


class AlsoAsJsonb(models.Model):
    """While its one row is there, events are written as the version before reads them, too (docs/adr/0020)."""

    id = models.PositiveSmallIntegerField(primary_key=True)


class OutboxQuerySet(models.QuerySet["OutboxEntry"]):
    def oldest_age_seconds(self) -> float:
        """How long the oldest batch of events has been waiting to be processed; 0 when none is."""
        oldest = self.aggregate(oldest=models.Min("created_at"))["oldest"]
        return 0.0 if oldest is None else (timezone.now() - oldest).total_seconds()


class OutboxEntry(models.Model):
    """A batch of accepted events that waits to be processed; deleted in the transaction that processes it."""

    id = models.UUIDField(primary_key=True)
    event_ids = ArrayField(models.UUIDField())
    created_at = models.DateTimeField(db_index=True)
    # Its place among all entries that there ever were (ingestion.positions).
    position = models.BigIntegerField(
        db_default=models.Func(models.Value("ingestion_position"), function="nextval"), editable=False
    )

    objects = OutboxQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "outbox entries"
        indexes = [models.Index(fields=["position"], name="outbox_position")]


class ScheduleStatus(models.TextChoices):
    SCHEDULED = "scheduled"
    HANDED_ON = "handed_on"
    CANCELLED = "cancelled"


class ScheduleQuerySet(TenantQuerySet["Schedule"]):
    def not_handed_on(self) -> Self:
        """Of events that nobody processes: not yet, or never."""
        return self.filter(status__in=[ScheduleStatus.SCHEDULED, ScheduleStatus.CANCELLED])


class Schedule(models.Model):
    """When an event is to be handed on to processing, if not at once, and what became of that (docs/adr/0026).

    Until then there is no outbox entry. The row stays for the retention period after `done_at`, when the event was
    handed on, and keeps the event for as long; that of a cancelled one stays as long as its event.
    """

    event_id = models.UUIDField(primary_key=True)
    organization = models.ForeignKey(
        Organization, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    deliver_at = models.DateTimeField()
    status = models.CharField(max_length=10, choices=ScheduleStatus.choices)
    done_at = models.DateTimeField(null=True)

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["deliver_at", "event_id"], name="schedule_due", condition=models.Q(status="scheduled")
            ),
            models.Index(fields=["organization", "status", "-event_id"], name="schedule_newest_of_status"),
        ]

    def __str__(self) -> str:
        return f"{self.status} {self.event_id}"


class IdempotencyKey(models.Model):
    """The claim of an idempotency key by one event, until it expires."""

    pk = models.CompositePrimaryKey("organization_id", "key")
    organization = models.ForeignKey(
        Organization, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    key = models.CharField(max_length=255, db_collation="C")
    event_id = models.UUIDField()
    fingerprint = models.BinaryField(max_length=32)
    expires_at = models.DateTimeField(db_index=True)


class Validation(models.TextChoices):
    """What a schema does to an event of its type that does not fit."""

    OFF = "off"
    WARN = "warn"
    REJECT = "reject"


class Format(models.TextChoices):
    """What a schema's `format` does: nothing, as JSON Schema has it, or it has to fit as anything else."""

    ANNOTATE = "annotate"
    ASSERT = "assert"


class EventType(models.Model):
    """A type of events: seen (then kept by processing), described by its organization, or both."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="event_types")
    name = models.CharField(max_length=255, db_collation="C")
    first_seen_at = models.DateTimeField(null=True, blank=True)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    count = models.BigIntegerField(default=0)
    description = models.TextField(blank=True, db_default="")
    schema = JSONTextField(null=True, blank=True)
    validation = models.CharField(max_length=10, choices=Validation.choices, db_default=Validation.OFF)
    format = models.CharField(max_length=10, choices=Format.choices, db_default=Format.ANNOTATE)
    # When schema, validation or format last changed: what the intake looks for to know that it must read them again.
    changed_at = models.DateTimeField(null=True, blank=True, db_index=True)

    objects = TenantQuerySet["EventType"].as_manager()

    class Meta:
        ordering = ["organization", "name"]
        constraints = [
            models.UniqueConstraint(fields=["organization", "name"], name="one_event_type_per_name"),
            models.CheckConstraint(
                condition=models.Q(validation=Validation.OFF) | models.Q(schema__isnull=False),
                name="validation_needs_a_schema",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class HourlyStat(models.Model):
    """How many events of a type an organization sent in one hour (UTC)."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    type = models.CharField(max_length=255, db_collation="C")
    hour = models.DateTimeField()
    count = models.BigIntegerField(default=0)

    objects = TenantQuerySet["HourlyStat"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "type", "hour"], name="one_stat_per_hour")]
        indexes = [models.Index(fields=["organization", "hour"], name="stat_of_hour")]


class IntakeCount(models.Model):
    """What became of the events that an organization sent in one minute (UTC); kept by the servers in bulk.

    `outcome` is `accepted`, `duplicate`, or the code of the problem that an event was rejected with.
    """

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, db_index=False, related_name="+")
    minute = models.DateTimeField(db_index=True)
    outcome = models.CharField(max_length=50, db_collation="C")
    count = models.BigIntegerField(default=0)

    objects = TenantQuerySet["IntakeCount"].as_manager()

    class Meta:
        # With the counts in it, a month of an organization is read from the index alone: 3 ms instead of 9.
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "minute", "outcome"], include=["count"], name="count_of_minute"
            )
        ]


class ProcessingFailure(models.Model):
    """An event that could not be processed. `next_attempt_at` is empty once the attempts are used up."""

    event_id = models.UUIDField(primary_key=True)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    error = models.TextField()
    attempts = models.PositiveSmallIntegerField(default=1)
    failed_at = models.DateTimeField()
    next_attempt_at = models.DateTimeField(null=True, blank=True, db_index=True)

    objects = TenantQuerySet["ProcessingFailure"].as_manager()

    class Meta:
        ordering = ["-failed_at"]

    def __str__(self) -> str:
        return f"{self.event_id}: {self.error[:80]}"


class IntakeProbe(models.Model):
    """The one row that a web server writes to see whether it could commit an event (ingestion.intake.probe)."""

    id = models.PositiveSmallIntegerField(primary_key=True)
    committed_at = models.DateTimeField()


def hour_of(moment: datetime) -> datetime:
    """The start of the hour, UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
