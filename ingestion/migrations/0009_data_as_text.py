from django.db import migrations, models

import ingestion.models

# lz4 is quicker than PostgreSQL's own compression; a server may have been built without it.
ADD_COLUMN = """
DO $$
BEGIN
    EXECUTE 'ALTER TABLE ingestion_event ADD COLUMN data_text text'
        || CASE WHEN (SELECT 'lz4' = ANY(enumvals) FROM pg_settings WHERE name = 'default_toast_compression')
           THEN ' COMPRESSION lz4' ELSE '' END;
END $$;
"""
# To look into texts: jsonb holds some 16 000 digits after a point, a text any number. Beyond that, digits are cut off.
CREATE_FUNCTION = r"""
CREATE FUNCTION ingestion_jsonb(given text) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    RETURN given::jsonb;
EXCEPTION WHEN numeric_value_out_of_range THEN
    RETURN regexp_replace(
        given, '("(?:[^"\\]|\\.)*")|([0-9]{200})[0-9]+|[eE][+-]?[0-9]{4,}', '\1\2', 'g'
    )::jsonb;
END $$;
"""
# The version before redacts the column that it knows. What it leaves in the other one must not be read any more.
CREATE_TRIGGER = """
CREATE FUNCTION ingestion_forget_text() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.data <> OLD.data AND NEW.data_text IS NOT DISTINCT FROM OLD.data_text THEN
        NEW.data_text := NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER forget_text BEFORE UPDATE OF data ON ingestion_event
    FOR EACH ROW EXECUTE FUNCTION ingestion_forget_text();
"""
DROP_TRIGGER = "DROP TRIGGER forget_text ON ingestion_event; DROP FUNCTION ingestion_forget_text()"
FILL_OLD_COLUMN = "UPDATE ingestion_event SET data = ingestion_jsonb(data_text) WHERE data IS NULL"


class Migration(migrations.Migration):
    """What a tenant sends is kept as text. Rows of before stay as they are until retention takes them (ADR 20)."""

    dependencies = [
        ('ingestion', '0008_event_type_format'),
    ]

    operations = [
        migrations.CreateModel(
            name='AlsoAsJsonb',
            fields=[
                ('id', models.PositiveSmallIntegerField(primary_key=True, serialize=False)),
            ],
        ),
        # While there is no organization, nobody can have sent anything: no version before is running.
        migrations.RunSQL(
            "INSERT INTO ingestion_alsoasjsonb SELECT 1 WHERE EXISTS (SELECT FROM organizations_organization)",
            migrations.RunSQL.noop,
        ),
        migrations.RunSQL(CREATE_FUNCTION, "DROP FUNCTION ingestion_jsonb"),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(ADD_COLUMN, "ALTER TABLE ingestion_event DROP COLUMN data_text"),
                migrations.RunSQL(
                    "ALTER TABLE ingestion_event ALTER COLUMN data DROP NOT NULL",
                    "ALTER TABLE ingestion_event ALTER COLUMN data SET NOT NULL",
                ),
                migrations.RunSQL(migrations.RunSQL.noop, FILL_OLD_COLUMN),
            ],
            state_operations=[
                migrations.RenameField('event', 'data', 'data_jsonb'),
                migrations.AlterField(
                    'event', 'data_jsonb', ingestion.models.JSONTextField(db_column='data', null=True)
                ),
                migrations.AddField('event', 'data_text', models.TextField(null=True)),
            ],
        ),
        migrations.RunSQL(CREATE_TRIGGER, DROP_TRIGGER),
    ]
