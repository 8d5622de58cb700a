"""Counts of attempts, by the minute for two hours and by the hour for a month."""

from django.db import models

from organizations.models import Organization, TenantQuerySet


class CountStep(models.IntegerChoices):
    """In seconds."""

    MINUTE = 60
    HOUR = 3600


class OutcomeCount(models.Model):
    """How many attempts at an endpoint ended alike, and took about as long, in a minute or an hour (UTC).

    `outcome` is `delivered` or the code of the error; `bucket` stands for a duration (delivery.outcome_counts.buckets).
    """

    organization = models.ForeignKey(
        Organization, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    subscription_id = models.UUIDField()
    step = models.SmallIntegerField(choices=CountStep.choices)
    start = models.DateTimeField()
    outcome = models.CharField(max_length=40)
    bucket = models.SmallIntegerField()
    count = models.BigIntegerField(db_default=0)

    objects = TenantQuerySet["OutcomeCount"].as_manager()

    class Meta:
        constraints = [
            # With the counts in it, a chart is read from the index alone.
            models.UniqueConstraint(
                fields=["subscription_id", "step", "start", "outcome", "bucket"],
                include=["count"],
                name="one_outcome_count",
            )
        ]
        indexes = [models.Index(fields=["step", "start"], name="outcome_count_of_all", include=["count"])]
