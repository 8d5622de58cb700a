from django.db import migrations, models


class Migration(migrations.Migration):
    """What jobs of every kind have: columns with defaults of PostgreSQL, and why the last portion failed."""

    dependencies = [
        ('console', '0002_exports'),
    ]

    operations = [
        migrations.AddField(
            model_name='export',
            name='failure',
            field=models.CharField(blank=True, db_default='', default='', max_length=200),
        ),
        migrations.AlterField(
            model_name='export',
            name='failures',
            field=models.PositiveSmallIntegerField(db_default=0, default=0),
        ),
        migrations.AlterField(
            model_name='export',
            name='status',
            field=models.CharField(choices=[('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled'), ('expired', 'Expired')], db_default='running', default='running', max_length=10),
        ),
    ]
