from django.db import migrations, models

# New weeks are made like the default partition (core.partitions.making).
_LEAVE_ROOM = """
DO $$
DECLARE part regclass;
BEGIN
    FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'delivery_delivery'::regclass LOOP
        EXECUTE format('ALTER TABLE %s SET (fillfactor = 50)', part);
    END LOOP;
END $$
"""


class Migration(migrations.Migration):
    """A sender takes a delivery without a new entry in its indexes: its page has room for another version of the row."""

    dependencies = [
        ("delivery", "0015_issues"),
    ]

    operations = [
        migrations.AddField(
            model_name="delivery",
            name="lease_until",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.RunSQL(_LEAVE_ROOM, migrations.RunSQL.noop),
    ]
