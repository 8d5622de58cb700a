from django.db import migrations, models


class Migration(migrations.Migration):
    """What jobs of every kind have: columns with defaults of PostgreSQL, and why the last portion failed."""

    dependencies = [
        ('delivery', '0005_pending_mail'),
    ]

    operations = [
        migrations.AlterField(
            model_name='replay',
            name='created',
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AlterField(
            model_name='replay',
            name='failure',
            field=models.CharField(blank=True, db_default='', default='', max_length=200),
        ),
        migrations.AlterField(
            model_name='replay',
            name='failures',
            field=models.PositiveSmallIntegerField(db_default=0, default=0),
        ),
        migrations.AlterField(
            model_name='replay',
            name='looked_at',
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AlterField(
            model_name='replay',
            name='status',
            field=models.CharField(choices=[('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_default='running', default='running', max_length=10),
        ),
    ]
