from django.db import migrations, models


class Migration(migrations.Migration):
    """What readiness writes to, to see whether an event could be committed."""

    dependencies = [
        ('ingestion', '0004_count_of_minute'),
    ]

    operations = [
        migrations.CreateModel(
            name='IntakeProbe',
            fields=[
                ('id', models.PositiveSmallIntegerField(primary_key=True, serialize=False)),
                ('committed_at', models.DateTimeField()),
            ],
        ),
    ]
