from django.db import migrations, models


class Migration(migrations.Migration):
    """An attempt says what was sent and answered; a first one that succeeds is kept in its delivery's row."""

    dependencies = [
        ("delivery", "0012_rate_limits"),
    ]

    operations = [
        migrations.AddField(
            model_name='attempt',
            name='record',
            field=models.BinaryField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='delivery',
            name='first_duration_ms',
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='delivery',
            name='earlier_attempts',
            field=models.PositiveSmallIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='delivery',
            name='first_attempt',
            field=models.BinaryField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='delivery',
            name='first_response',
            field=models.TextField(blank=True, null=True),
        ),
    ]
