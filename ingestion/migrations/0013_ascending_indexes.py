from django.db import migrations, models

from core.partitions.indexes import ReplaceIndex


class Migration(migrations.Migration):
    """New ids come last in these: their pages fill up, where those of descending ids stay half empty."""

    # The indexes are built concurrently.
    atomic = False

    dependencies = [
        ("ingestion", "0012_outbox_position"),
    ]

    operations = [
        ReplaceIndex(
            "event",
            old=models.Index(fields=["organization", "-id"], name="event_newest"),
            new=models.Index(fields=["organization", "id"], name="event_of_organization"),
        ),
        ReplaceIndex(
            "event",
            old=models.Index(fields=["organization", "type", "-id"], name="event_newest_of_type"),
            new=models.Index(fields=["organization", "type", "id"], name="event_of_type"),
        ),
    ]
