from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('organizations', '0004_retention_of_a_day'),
    ]

    operations = [
        # With a constant default PostgreSQL adds the column without writing to a row.
        migrations.AddField(
            model_name='auditentry',
            name='user_agent',
            field=models.CharField(blank=True, db_default='', max_length=200),
        ),
    ]
