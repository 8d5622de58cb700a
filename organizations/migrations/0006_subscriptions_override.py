from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('organizations', '0005_audit_user_agent'),
    ]

    operations = [
        migrations.AddField(
            model_name='organization',
            name='subscriptions_override',
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
    ]
