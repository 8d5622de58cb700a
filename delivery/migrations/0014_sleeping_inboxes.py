from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("delivery", "0013_attempt_records"),
    ]

    operations = [
        migrations.AddField(
            model_name='subscription',
            name='sleeps',
            field=models.BooleanField(db_default=False),
        ),
        migrations.AddField(
            model_name='subscription',
            name='unfilled_from',
            field=models.UUIDField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name='subscription',
            name='unfilled_to',
            field=models.UUIDField(blank=True, editable=False, null=True),
        ),
    ]
