import django.db.models.functions.text
from django.db import migrations, models

LONGEST = 63


def rename_duplicates(apps, schema_editor):
    """Of slugs that differ by case alone the oldest organization keeps its own; the others get a number, and an entry in
    the audit log that tells both."""
    organizations = apps.get_model('organizations', 'Organization').objects
    entries = apps.get_model('organizations', 'AuditEntry').objects
    taken = set()
    for organization in organizations.only('id', 'slug').order_by('id').iterator():
        slug = organization.slug
        number = 2
        while slug.lower() in taken or (slug != organization.slug and organizations.filter(slug__iexact=slug).exists()):
            ending = f'-{number}'
            slug = f'{organization.slug[: LONGEST - len(ending)]}{ending}'
            number += 1
        taken.add(slug.lower())
        if slug != organization.slug:
            entries.create(
                organization_id=organization.pk, actor_kind='system', actor_label='migrate',
                action='organization.updated', target_kind='organization', target_id=str(organization.pk),
                target_label=slug, changes={'slug': [organization.slug, slug]},
            )
            organizations.filter(pk=organization.pk).update(slug=slug)


class Migration(migrations.Migration):

    dependencies = [
        ('organizations', '0007_suspended_organizations'),
    ]

    operations = [
        migrations.RunPython(rename_duplicates, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name='organization',
            constraint=models.UniqueConstraint(
                django.db.models.functions.text.Lower('slug'), name='organization_slug_without_case',
                violation_error_message='There is an organization with this slug already.',
            ),
        ),
    ]
