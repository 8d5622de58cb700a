from django.db import migrations, models


class Migration(migrations.Migration):
    """Which organizations are suspended, at once: whoever sends asks for it with each claim."""

    dependencies = [
        ('organizations', '0006_subscriptions_override'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='organization',
            index=models.Index(
                condition=models.Q(('suspended_at__isnull', False)), fields=['id'], name='organization_suspended'
            ),
        ),
    ]
