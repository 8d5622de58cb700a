from django.db import migrations


class Migration(migrations.Migration):
    """A permission of its own for staff to read the data of events; no table changes."""

    dependencies = [
        ('ingestion', '0005_intake_probe'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='event',
            options={'permissions': [('view_payload', "Can read the data of tenants' events")]},
        ),
    ]
