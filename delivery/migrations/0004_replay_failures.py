from django.db import migrations, models


class Migration(migrations.Migration):
    """A replay that cannot go on ends, and says why."""

    dependencies = [
        ('delivery', '0003_circuit_rounds_and_manual_retries'),
    ]

    operations = [
        migrations.AddField(
            model_name='replay',
            name='failures',
            field=models.PositiveSmallIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name='replay',
            name='failure',
            field=models.CharField(blank=True, db_default='', max_length=200),
        ),
        migrations.AlterField(
            model_name='replay',
            name='status',
            field=models.CharField(
                choices=[('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')],
                db_default='running',
                max_length=10,
            ),
        ),
    ]
