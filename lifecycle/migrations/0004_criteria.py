from django.db import migrations, models


class Migration(migrations.Migration):
    """A better name, in the code alone: the column stays as it is."""

    dependencies = [
        ('events_platform', '0003_jobs'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameField('erasure', 'wish', 'criteria'),
                migrations.AlterField(
                    'erasure', 'criteria', models.JSONField(blank=True, db_column='wish', default=dict)
                ),
            ],
        ),
    ]
