from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ('ingestion', '0007_long_references'),
    ]

    operations = [
        migrations.AddField(
            model_name='eventtype',
            name='format',
            field=models.CharField(
                choices=[('annotate', 'Annotate'), ('assert', 'Assert')], db_default='annotate', max_length=10
            ),
        ),
    ]
