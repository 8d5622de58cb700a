import django.db.models.deletion
import django.utils.timezone
import uuid_utils.compat
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('console', '0001_initial'),
        ('organizations', '0002_audit_index'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Export',
            fields=[
                ('id', models.UUIDField(default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False)),
                ('format', models.CharField(choices=[('csv', 'CSV'), ('ndjson', 'NDJSON')], max_length=10)),
                ('query', models.TextField(blank=True)),
                ('status', models.CharField(choices=[('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled'), ('expired', 'Expired')], default='running', max_length=10)),
                ('cursor', models.UUIDField(blank=True, null=True)),
                ('total', models.BigIntegerField(blank=True, null=True)),
                ('events', models.BigIntegerField(default=0)),
                ('parts', models.PositiveIntegerField(default=0)),
                ('stored_size', models.BigIntegerField(default=0)),
                ('size', models.BigIntegerField(default=0)),
                ('is_cut', models.BooleanField(default=False)),
                ('failures', models.PositiveSmallIntegerField(default=0)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('expires_at', models.DateTimeField(blank=True, null=True)),
                ('created_by', models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='organizations.organization')),
            ],
            options={
                'ordering': ['-id'],
                'indexes': [models.Index(condition=models.Q(('status', 'running')), fields=['id'], name='export_running'), models.Index(condition=models.Q(('status', 'done')), fields=['expires_at'], name='export_expiry')],
            },
        ),
        migrations.CreateModel(
            name='ExportPart',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField()),
                ('body', models.BinaryField()),
                ('export', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='console.export')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('export', 'number'), name='one_export_part_per_number')],
            },
        ),
    ]
