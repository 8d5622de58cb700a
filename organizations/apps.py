from django.apps import AppConfig


class OrganizationsConfig(AppConfig):
    name = "organizations"

    def ready(self) -> None:
        from organizations.usage import own_usage, usage_counters  # noqa: PLC0415 - models load after the apps

        usage_counters.register(own_usage)
