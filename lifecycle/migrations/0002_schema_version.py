from django.db import migrations, models


class Migration(migrations.Migration):
    """So that code that is too old for the data can say so."""

    dependencies = [
        ('events_platform', '0001_erasures'),
    ]

    operations = [
        migrations.CreateModel(
            name='SchemaVersion',
            fields=[
                ('id', models.PositiveSmallIntegerField(primary_key=True, serialize=False)),
                ('version', models.CharField(max_length=40)),
                ('oldest', models.CharField(max_length=40)),
            ],
        ),
    ]
