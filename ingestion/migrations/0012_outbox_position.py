from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("ingestion", "0011_position"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="outboxentry",
            index=models.Index(fields=["position"], name="outbox_position"),
        ),
    ]
