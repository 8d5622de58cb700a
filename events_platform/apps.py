from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class EventsPlatformConfig(AppConfig):
    name = "events_platform"
    verbose_name = "Platform"
    default = True

    def ready(self) -> None:
        from events_platform import checks  # noqa: F401, PLC0415 - to register them, once the settings are read


class AdminConfig(admin_apps.AdminConfig):
    default = False
    default_site = "events_platform.admin_site.AdminSite"
