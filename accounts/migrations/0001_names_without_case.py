from django.db import migrations


def make_names_unique(apps, schema_editor):
    """Of accounts whose names differ by case alone already, all but the oldest are left out: they go on working.

    `manage.py doctor` names them. The expression is that of Django's `iexact`, so looking names up uses the index too.
    """
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            'SELECT id FROM (SELECT id, row_number() OVER (PARTITION BY upper(username::text) ORDER BY id) AS place'
            ' FROM auth_user) AS named WHERE place > 1 ORDER BY id'
        )
        left_out = [row[0] for row in cursor.fetchall()]
    condition = f" WHERE id NOT IN ({', '.join(map(str, left_out))})" if left_out else ''
    schema_editor.execute(
        f'CREATE UNIQUE INDEX accounts_name_without_case ON auth_user (upper(username::text)){condition}'
    )


class Migration(migrations.Migration):
    """People are few: the indexes are made within a moment."""

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
    ]

    operations = [
        migrations.RunPython(
            make_names_unique,
            lambda apps, schema_editor: schema_editor.execute('DROP INDEX accounts_name_without_case'),
        ),
        migrations.RunSQL(
            'CREATE INDEX accounts_address ON auth_user (upper(email::text))', 'DROP INDEX accounts_address'
        ),
    ]
