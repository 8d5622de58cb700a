"""What waited for endpoints, by the minute for two hours and by the hour for a month."""

from django.db import models

from delivery.outcome_counts.models import CountStep
from organizations.models import Organization, TenantQuerySet


class QueueSample(models.Model):
    """The most deliveries that waited for an endpoint in a minute or an hour (UTC), and the age of the oldest.

    There is a row only where something waited. `waiting` goes up to what is counted (delivery.queue_samples.sampling).
    """

    organization = models.ForeignKey(
        Organization, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    subscription_id = models.UUIDField()
    step = models.SmallIntegerField(choices=CountStep.choices)
    start = models.DateTimeField()
    waiting = models.IntegerField()
    oldest_seconds = models.IntegerField()

    objects = TenantQuerySet["QueueSample"].as_manager()

    class Meta:
        constraints = [
            # With the figures in it, a chart is read from the index alone.
            models.UniqueConstraint(
                fields=["subscription_id", "step", "start"],
                include=["waiting", "oldest_seconds"],
                name="one_queue_sample",
            )
        ]
        indexes = [models.Index(fields=["step", "start"], name="queue_sample_of_age")]
