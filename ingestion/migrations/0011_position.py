from django.db import migrations, models

# The version before inserts entries without it: they get theirs by the default. The table is as small as the backlog.


class Migration(migrations.Migration):

    dependencies = [
        ("ingestion", "0010_schedule"),
    ]

    operations = [
        migrations.RunSQL("CREATE SEQUENCE ingestion_position CACHE 1", "DROP SEQUENCE ingestion_position"),
        migrations.AddField(
            model_name="outboxentry",
            name="position",
            field=models.BigIntegerField(
                db_default=models.Func(models.Value("ingestion_position"), function="nextval"),
                editable=False,
            ),
        ),
    ]
