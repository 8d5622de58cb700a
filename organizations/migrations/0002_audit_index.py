from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('organizations', '0001_initial'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='organization',
            options={'ordering': ['name'], 'permissions': [('suspend_organization', 'Can suspend and resume an organization')]},
        ),
        AddIndexConcurrently(
            model_name='auditentry',
            index=models.Index(fields=['organization', '-id'], name='audit_newest'),
        ),
    ]
