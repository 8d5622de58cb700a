from django.apps import AppConfig


class IngestionConfig(AppConfig):
    name = "ingestion"

    def ready(self) -> None:
        from ingestion.usage import usage_of  # noqa: PLC0415 - models load after the apps
        from organizations.usage import usage_counters  # noqa: PLC0415 - likewise

        usage_counters.register(usage_of)
