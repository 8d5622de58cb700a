from django.db import migrations, models

from core.partitions.indexes import ReplaceIndex


class Migration(migrations.Migration):
    """New ids come last in these: their pages fill up, where those of descending ids stay half empty."""

    # The indexes are built concurrently.
    atomic = False

    dependencies = [
        ("delivery", "0019_queue_samples"),
    ]

    operations = [
        ReplaceIndex(
            "delivery",
            old=models.Index(fields=["subscription", "status", "-id"], name="delivery_newest_of_status"),
            new=models.Index(fields=["subscription", "status", "id"], name="delivery_of_status"),
        ),
        ReplaceIndex(
            "attempt",
            old=models.Index(fields=["subscription_id", "-id"], name="attempt_of_subscription"),
            new=models.Index(fields=["subscription_id", "id"], name="attempt_by_subscription"),
        ),
    ]
