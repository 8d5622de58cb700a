from django.apps import AppConfig
from django.db.models.signals import post_migrate, pre_migrate


class LifecycleConfig(AppConfig):
    """Tables, permissions and migrations have had the label from before there was this room."""

    name = "lifecycle"
    label = "events_platform"
    verbose_name = "Platform"

    def ready(self) -> None:
        # Here, since Django announces a migration of apps that have models alone.
        from observability.schema_version import note_version, refuse_to_migrate  # noqa: PLC0415 - reads the settings

        pre_migrate.connect(refuse_to_migrate, sender=self)
        post_migrate.connect(note_version, sender=self)
