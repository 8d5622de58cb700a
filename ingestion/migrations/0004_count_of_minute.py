from django.db import migrations, models


class Migration(migrations.Migration):
    """The counts come along in the index, so that a month of an organization is read from it alone."""

    atomic = False

    dependencies = [
        ('ingestion', '0003_stat_of_hour'),
    ]

    operations = [
        # AddConstraint would build it under a lock. The old one is there until the new one is.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    'CREATE UNIQUE INDEX CONCURRENTLY "count_of_minute" ON "ingestion_intakecount" '
                    '("organization_id", "minute", "outcome") INCLUDE ("count")',
                    'DROP INDEX CONCURRENTLY "count_of_minute"',
                ),
            ],
            state_operations=[
                migrations.AddConstraint(
                    model_name='intakecount',
                    constraint=models.UniqueConstraint(
                        fields=('organization', 'minute', 'outcome'), include=('count',), name='count_of_minute'
                    ),
                ),
            ],
        ),
        migrations.RemoveConstraint(model_name='intakecount', name='one_count_per_minute'),
    ]
