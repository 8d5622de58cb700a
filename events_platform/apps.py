from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps
from django.db.models.signals import post_migrate, pre_migrate


class EventsPlatformConfig(AppConfig):
    name = "events_platform"
    verbose_name = "Platform"
    default = True

    def ready(self) -> None:
        from events_platform import checks  # noqa: F401, PLC0415 - to register them, once the settings are read
        from events_platform.schema_version import note_version, refuse_to_migrate  # noqa: PLC0415 - likewise

        pre_migrate.connect(refuse_to_migrate, sender=self)
        post_migrate.connect(note_version, sender=self)


class AdminConfig(admin_apps.AdminConfig):
    default = False
    default_site = "events_platform.admin_site.AdminSite"
