"""Who gets events (subscriptions), each event's way to them (deliveries), and what was tried (attempts)."""

from datetime import datetime
from typing import Self
from urllib.parse import urlsplit

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone
from uuid_utils.compat import uuid7

from delivery.issues.models import Issue as Issue  # noqa: PLC0414 - Django looks for models here
from delivery.kinds import RULES
from delivery.kinds.rules import KindRules
from delivery.matching.event_view import MAX_PATH_LENGTH
from delivery.outcome_counts.models import OutcomeCount as OutcomeCount  # noqa: PLC0414 - likewise
from delivery.queue_samples.models import QueueSample as QueueSample  # noqa: PLC0414 - likewise
from organizations.jobs.models import Job
from organizations.models import Organization, TenantQuerySet

DEFAULT_INBOX = "default"


class SubscriptionKind(models.TextChoices):
    WEBHOOK = "webhook"
    INBOX = "inbox"


class SubscriptionStatus(models.TextChoices):
    """Only an active one is delivered to; paused and disabled ones hold their deliveries until they are resumed.

    A deleted one keeps its row, so that every process learns of the deletion; nobody is shown it.
    """

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"
    DELETED = "deleted"


class DisabledReason(models.TextChoices):
    FAILING = "failing", "nothing but failures for too long"
    GONE = "gone", "the endpoint answered 410 Gone"


class Signature(models.TextChoices):
    """Of webhooks, by Standard Webhooks: with a secret that both sides know, or with a private key."""

    SYMMETRIC = "v1", "v1: a shared secret"
    ASYMMETRIC = "v1a", "v1a: a public key"


class OnDeadLetter(models.TextChoices):
    """What becomes of the events that wait behind a dead letter of their key."""

    SKIP = "skip", "skip: the next one goes on"
    HOLD = "hold", "hold: they wait until somebody retries or skips it"


class DeliveryStatus(models.TextChoices):
    """As the API shows it. HELD is derived, and never stored (delivery.shown_status)."""

    PENDING = "pending"
    DELIVERED = "delivered"
    RETRYING = "retrying"
    HELD = "held"
    DEAD_LETTER = "dead_letter"


OPEN_STATUSES = (DeliveryStatus.PENDING, DeliveryStatus.RETRYING)


# What a subscription may have much of.
LARGE_COLUMNS = ("description", "event_types", "filter", "headers", "auth")
# Of a URL, where a subscription is called by it.
LABEL_LENGTH = 48


class SubscriptionQuerySet(TenantQuerySet["Subscription"]):
    def not_deleted(self) -> Self:
        """Those that were not deleted."""
        return self.exclude(status=SubscriptionStatus.DELETED)

    def light(self) -> Self:
        """Without what may be large and is not looked at where there are many: their filters, headers and auth."""
        return self.defer("description", "filter", "headers", "auth")


class Subscription(models.Model):
    """Where an organization wants events to go. Each has the inbox `default`, which takes every event."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="subscriptions")
    kind = models.CharField(max_length=10, choices=SubscriptionKind.choices)
    # The address of an inbox within its organization; a label for people on a webhook.
    name = models.CharField(max_length=100, blank=True)
    description = models.TextField(blank=True, db_default="")
    tags = ArrayField(models.CharField(max_length=100), null=True, blank=True)
    event_types = ArrayField(models.CharField(max_length=256), db_default=["*"])
    filter = models.JSONField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # When anything changed that matching depends on: what processing looks for to know that it must read it again.
    changed_at = models.DateTimeField(db_default=Now(), db_index=True)

    # What deliveries are put in order by, if they are; null for `on_dead_letter` is to skip. Once there was an order,
    # queues of keys may be left (docs/adr/0027).
    order_by = models.CharField(max_length=MAX_PATH_LENGTH, null=True, blank=True)
    on_dead_letter = models.CharField(max_length=4, choices=OnDeadLetter.choices, null=True, blank=True)
    has_queues = models.BooleanField(db_default=False, editable=False)

    status = models.CharField(max_length=10, choices=SubscriptionStatus.choices, db_default=SubscriptionStatus.ACTIVE)
    disabled_reason = models.CharField(max_length=10, choices=DisabledReason.choices, blank=True, db_default="")
    disabled_at = models.DateTimeField(null=True, blank=True)

    # Webhooks only. Secrets are encrypted; the previous one signs too until its time is over.
    url = models.CharField(max_length=2048, blank=True, db_default="")
    # Null is as the platform's settings say; an empty schedule means no retry.
    timeout_seconds = models.FloatField(null=True, blank=True)
    # In a second, and at once, of all senders together. What is taken of it, see delivery.webhooks.claiming.
    rate_limit = models.FloatField(null=True, blank=True)
    max_in_flight = models.PositiveSmallIntegerField(null=True, blank=True)
    # Where there is a limit: when the next one may be sent, or, without a rate, when the last ones were taken.
    next_slot_at = models.DateTimeField(null=True, blank=True)
    retry_schedule = ArrayField(models.PositiveIntegerField(), null=True, blank=True)
    # Their values are encrypted, see delivery.endpoints.sealed_headers.
    headers = models.JSONField(db_default={})
    signature = models.CharField(max_length=4, choices=Signature.choices, null=True, blank=True)
    # See delivery.endpoints.sealed_auth. When its certificate ends, and when the organization was told so.
    auth = models.JSONField(null=True, blank=True)
    auth_expires_at = models.DateTimeField(null=True, blank=True)
    auth_end_told_at = models.DateTimeField(null=True, blank=True)
    secret = models.TextField(blank=True, db_default="")
    # Of the secret, where that is a private key.
    public_key = models.CharField(max_length=60, blank=True, db_default="")
    previous_secret = models.TextField(blank=True, db_default="")
    previous_secret_until = models.DateTimeField(null=True, blank=True)
    # Health: since when there were only failures, and how many in a row.
    failing_since = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(db_default=0)
    # After too many the circuit is open and the endpoint rests: the how-manieth rest it is, until when, and when the
    # next delivery may try, which is sooner once in each rest. Open from the first failure too many to a success.
    circuit_step = models.PositiveSmallIntegerField(db_default=0)
    circuit_open_until = models.DateTimeField(null=True, blank=True)
    circuit_probe_at = models.DateTimeField(null=True, blank=True)
    last_attempt_at = models.DateTimeField(null=True, blank=True)
    last_success_at = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=40, blank=True, db_default="")

    # Inboxes only: after so many leases without an ack an event is a dead letter.
    max_leases = models.PositiveIntegerField(db_default=20)
    # One that nobody has read sleeps, and gets no deliveries. Once it is read, those of the events from `unfilled_from`
    # on and before `unfilled_to` are made as they are asked for; both are null when none is missing.
    sleeps = models.BooleanField(db_default=False)
    unfilled_from = models.UUIDField(null=True, blank=True, editable=False)
    unfilled_to = models.UUIDField(null=True, blank=True, editable=False)

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        ordering = ["organization", "name"]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "name"],
                name="one_inbox_per_name",
                condition=models.Q(kind=SubscriptionKind.INBOX) & ~models.Q(status=SubscriptionStatus.DELETED),
            ),
            models.CheckConstraint(
                condition=models.Q(kind=SubscriptionKind.INBOX, url="")
                | (models.Q(kind=SubscriptionKind.WEBHOOK) & ~models.Q(url="")),
                name="webhooks_have_a_url",
            ),
            models.CheckConstraint(
                condition=models.Q(kind=SubscriptionKind.WEBHOOK) | ~models.Q(name=""), name="inboxes_have_a_name"
            ),
        ]

    @property
    def rules(self) -> KindRules:
        """What sets its kind apart."""
        return RULES[self.kind]

    @property
    def is_default(self) -> bool:
        """Whether it is the inbox that every organization has."""
        return self.kind == SubscriptionKind.INBOX and self.name == DEFAULT_INBOX

    @property
    def holds_keys(self) -> bool:
        """Whether what waits behind a dead letter of its key goes on waiting."""
        return self.order_by is not None and self.on_dead_letter == OnDeadLetter.HOLD

    @property
    def label(self) -> str:
        """What it is called wherever people see it."""
        return label_of(self.name, self.url)

    def __str__(self) -> str:
        return f"{self.kind} {self.label}"


def label_of(name: str, url: str) -> str:
    """A subscription's name, or else host and path of its URL, shortened in the middle. Never the query: it may hold a
    token, and this text goes into the audit log.
    """
    if name:
        return name
    parts = urlsplit(url)
    address = parts.netloc + parts.path.rstrip("/")
    if len(address) <= LABEL_LENGTH:
        return address
    half = LABEL_LENGTH // 2
    return f"{address[:half]}…{address[1 - half :]}"


class DeliveryQuerySet(TenantQuerySet["Delivery"]):
    def light(self) -> Self:
        """Without what may be large and is not looked at where there are many: what the endpoint answered."""
        return self.defer("first_attempt", "first_response")


class Delivery(models.Model):
    """One event on its way to one subscription; partitioned by week of `id`, like the events.

    `next_attempt_at` is when it may next be taken, by the sender or by a lease; it is empty once the delivery is
    delivered or a dead letter, and while it waits in the queue of its key. A lease of an inbox moves it forward, and a
    sender holds what it has taken until `lease_until`: so a taker that dies gives it back by itself (docs/adr/0023).
    """

    id = models.UUIDField(primary_key=True)
    organization = models.ForeignKey(
        Organization, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    subscription = models.ForeignKey(
        Subscription, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    event_id = models.UUIDField()
    status = models.CharField(max_length=15, choices=DeliveryStatus.choices)
    created_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True, blank=True)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    # Attempts of a webhook, or leases of an inbox.
    attempts = models.PositiveSmallIntegerField(db_default=0)
    lease_id = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=40, blank=True, db_default="")
    replay_id = models.UUIDField(null=True, blank=True)
    # The DeadLetterRetry that made it due, until its next attempt is over.
    retry_id = models.UUIDField(null=True, blank=True)
    # Those before it last started over, so that all are numbered through.
    earlier_attempts = models.PositiveSmallIntegerField(null=True, blank=True)
    # The hash of its key, if it is in an order, and its number in that, once it is its turn (delivery.ordering).
    order_key = models.UUIDField(null=True, blank=True)
    sequence = models.BigIntegerField(null=True, blank=True)
    # Attempt 1, if it succeeded: then it has no row (delivery.attempts.records, docs/adr/0024).
    first_duration_ms = models.PositiveIntegerField(null=True, blank=True)
    first_attempt = models.BinaryField(null=True, blank=True)
    first_response = models.TextField(null=True, blank=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "deliveries"
        indexes = [
            models.Index(
                fields=["subscription", "next_attempt_at", "id"],
                name="delivery_due",
                condition=models.Q(next_attempt_at__isnull=False),
            ),
            models.Index(fields=["subscription", "status", "id"], name="delivery_of_status"),
        ]

    @property
    def taken_until(self) -> datetime | None:
        """When a taker's time ends, which may be over; None when nobody has taken it since it was last due."""
        if self.lease_id is None:
            return None
        return max(filter(None, (self.lease_until, self.next_attempt_at)), default=None)

    @property
    def attempts_in_all(self) -> int:
        """Also those before it last started over."""
        return (self.earlier_attempts or 0) + self.attempts

    def __str__(self) -> str:
        return str(self.id)


class KeyQueue(models.Model):
    """The deliveries of one key to a subscription that has an order; the row is what is locked (docs/adr/0027).

    `head_id` is the one delivery whose turn it is. While there is none, `next_position` says from which position on the
    next one may come; it is null when nothing waits. `sequence` is the number of the last head. `arrivals` changes with
    each that joins: who has seen an older one has not seen all that wait.
    """

    pk = models.CompositePrimaryKey("subscription_id", "key")
    subscription = models.ForeignKey(
        Subscription, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    key = models.UUIDField()
    organization = models.ForeignKey(
        Organization, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    head_id = models.UUIDField(null=True)
    sequence = models.BigIntegerField()
    arrivals = models.BigIntegerField()
    next_position = models.BigIntegerField(null=True)
    used_at = models.DateTimeField()

    objects = TenantQuerySet["KeyQueue"].as_manager()

    class Meta:
        indexes = [
            models.Index(
                fields=["next_position"], name="key_queue_to_go_on", condition=models.Q(next_position__isnull=False)
            ),
        ]


class KeyQueueMember(models.Model):
    """A delivery that waits in the queue of its key, at its position (ingestion.positions)."""

    pk = models.CompositePrimaryKey("subscription_id", "key", "position")
    subscription = models.ForeignKey(
        Subscription, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    key = models.UUIDField()
    position = models.BigIntegerField()
    organization = models.ForeignKey(
        Organization, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    delivery_id = models.UUIDField()

    objects = TenantQuerySet["KeyQueueMember"].as_manager()


class Attempt(models.Model):
    """One request to a webhook, and what came of it; partitioned by week of `id`.

    A first attempt that succeeds has none: see `Delivery.first_attempt`.
    """

    id = models.UUIDField(primary_key=True)
    organization = models.ForeignKey(
        Organization, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    subscription_id = models.UUIDField()
    delivery_id = models.UUIDField()
    number = models.PositiveSmallIntegerField()
    started_at = models.DateTimeField()
    duration_ms = models.PositiveIntegerField()
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    # An AttemptError; empty when it succeeded.
    error = models.CharField(max_length=40, blank=True, db_default="")
    # The first 20 KiB of what the endpoint answered.
    response = models.TextField(blank=True, db_default="")
    # The rest (delivery.attempts.records). None of before there were records.
    record = models.BinaryField(null=True, blank=True)

    objects = TenantQuerySet["Attempt"].as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["delivery_id", "-id"], name="attempt_of_delivery"),
            models.Index(fields=["subscription_id", "id"], name="attempt_by_subscription"),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number}: {self.error or self.status_code}"


class ManualRetry(models.Model):
    """A delivery that somebody wants tried at once, whatever its circuit says; gone when a sender takes it.

    Of a webhook. There are few, so that a sender finds them without an index on the deliveries.
    """

    delivery_id = models.UUIDField(primary_key=True)
    organization = models.ForeignKey(
        Organization, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    asked_at = models.DateTimeField(db_default=Now())

    objects = TenantQuerySet["ManualRetry"].as_manager()

    def __str__(self) -> str:
        return f"manual retry of {self.delivery_id}"


class Replay(Job):
    """New deliveries of old events to one subscription, made in bounded batches."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="replays")
    received_after = models.DateTimeField()
    received_before = models.DateTimeField()
    # Only these, which were received in that time; NULL for all of it.
    event_ids = ArrayField(models.UUIDField(), null=True, blank=True)
    event_types = ArrayField(models.CharField(max_length=256), db_default=["*"])
    only_undelivered = models.BooleanField(db_default=False)
    total = models.BigIntegerField()
    looked_at = models.BigIntegerField(default=0, db_default=0)
    created = models.BigIntegerField(default=0, db_default=0)

    objects = TenantQuerySet["Replay"].as_manager()

    def __str__(self) -> str:
        return f"replay {self.id}: {self.status}"


class DeadLetterRetry(Job):
    """Another chance for the dead letters of a subscription: all, or those of the types, the error and the time."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="+")
    event_types = ArrayField(models.CharField(max_length=256), db_default=["*"])
    error = models.CharField(max_length=40, blank=True, db_default="")
    received_after = models.DateTimeField(null=True, blank=True)
    received_before = models.DateTimeField(null=True, blank=True)
    total = models.BigIntegerField()
    # How many are due again.
    done = models.BigIntegerField(default=0, db_default=0)

    objects = TenantQuerySet["DeadLetterRetry"].as_manager()

    class Meta(Job.Meta):
        verbose_name_plural = "dead letter retries"

    def __str__(self) -> str:
        return f"retry of dead letters {self.id}: {self.status}"


class RetryOutcomes(models.Model):
    """How the next attempts of what a job made due ended. Apart from the job, whose row is held while it works."""

    retry = models.OneToOneField(DeadLetterRetry, on_delete=models.CASCADE, primary_key=True, related_name="outcomes")
    delivered = models.BigIntegerField(default=0, db_default=0)
    failed_again = models.BigIntegerField(default=0, db_default=0)

    def __str__(self) -> str:
        return f"outcomes of {self.retry_id}"


class PendingMail(models.Model):
    """A mail that a worker has yet to send. `about` names what it is about, and holds no secret: links are made later.

    A row is claimed by moving `next_attempt_at` forward, as a delivery is.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=30)
    about = models.JSONField()
    attempts = models.PositiveSmallIntegerField(db_default=0)
    created_at = models.DateTimeField(db_default=Now())
    next_attempt_at = models.DateTimeField(db_default=Now())

    objects = models.Manager["PendingMail"]()

    class Meta:
        indexes = [models.Index(fields=["next_attempt_at"], name="pending_mail_due")]

    def __str__(self) -> str:
        return f"mail {self.kind}"


def is_open_until(moment: datetime | None, now: datetime) -> bool:
    """Whether a time that closes something (a circuit, a secret) is still ahead."""
    return moment is not None and moment > now
