import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
import uuid_utils.compat
from django.db import migrations, models


class Migration(migrations.Migration):
    """All dead letters of a subscription are retried by a job, which learns what became of them."""

    dependencies = [
        ('delivery', '0006_jobs'),
        ('organizations', '0008_slugs_without_case'),
    ]

    operations = [
        migrations.CreateModel(
            name='DeadLetterRetry',
            fields=[
                ('id', models.UUIDField(default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False)),
                ('status', models.CharField(choices=[('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], db_default='running', default='running', max_length=10)),
                ('cursor', models.UUIDField(blank=True, null=True)),
                ('failures', models.PositiveSmallIntegerField(db_default=0, default=0)),
                ('failure', models.CharField(blank=True, db_default='', default='', max_length=200)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('event_types', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=256), db_default=['*'], size=None)),
                ('error', models.CharField(blank=True, db_default='', max_length=40)),
                ('received_after', models.DateTimeField(blank=True, null=True)),
                ('received_before', models.DateTimeField(blank=True, null=True)),
                ('total', models.BigIntegerField()),
                ('done', models.BigIntegerField(db_default=0, default=0)),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='organizations.organization')),
                ('subscription', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='delivery.subscription')),
            ],
            options={
                'verbose_name_plural': 'dead letter retries',
                'ordering': ['-id'],
                'abstract': False,
            },
        ),
        migrations.AddField(
            model_name='delivery',
            name='retry_id',
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.CreateModel(
            name='RetryOutcomes',
            fields=[
                ('retry', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='outcomes', serialize=False, to='delivery.deadletterretry')),
                ('delivered', models.BigIntegerField(db_default=0, default=0)),
                ('failed_again', models.BigIntegerField(db_default=0, default=0)),
            ],
        ),
        migrations.AddIndex(
            model_name='deadletterretry',
            index=models.Index(condition=models.Q(('status', 'running')), fields=['id'], name='deadletterretry_running'),
        ),
    ]
