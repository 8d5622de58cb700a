from django.apps import AppConfig


class InstallationConfig(AppConfig):
    name = "installation"

    def ready(self) -> None:
        from installation import checks  # noqa: F401, PLC0415 - to register them, once the settings are read
