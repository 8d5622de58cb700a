from django.db import migrations, models


class Migration(migrations.Migration):
    """A longer varchar writes no row anew. A shorter one would have to, so going back leaves it: the code before this
    writes shorter values, and reads any.
    """

    dependencies = [
        ('ingestion', '0006_view_payload'),
    ]

    operations = [
        migrations.RunSQL(
            'ALTER TABLE "ingestion_event" ALTER COLUMN "source" TYPE varchar(1024),'
            ' ALTER COLUMN "subject" TYPE varchar(1024)',
            migrations.RunSQL.noop,
            state_operations=[
                migrations.AlterField(
                    model_name='event', name='source', field=models.CharField(max_length=1024, null=True)
                ),
                migrations.AlterField(
                    model_name='event', name='subject', field=models.CharField(max_length=1024, null=True)
                ),
            ],
        ),
    ]
