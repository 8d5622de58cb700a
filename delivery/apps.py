from django.apps import AppConfig


class DeliveryConfig(AppConfig):
    name = "delivery"

    def ready(self) -> None:
        from delivery.api.event_deliveries import counts_of  # noqa: PLC0415 - models load after the apps
        from delivery.operations.fan_out import fan_out  # noqa: PLC0415 - likewise
        from delivery.operations.resuming import release_held  # noqa: PLC0415 - likewise
        from delivery.usage import usage_of  # noqa: PLC0415 - likewise
        from ingestion.api.presenting import listed_members  # noqa: PLC0415 - likewise
        from ingestion.operations.process import event_handlers  # noqa: PLC0415 - likewise
        from organizations.operations.organizations import resume_listeners  # noqa: PLC0415 - likewise
        from organizations.usage import usage_counters  # noqa: PLC0415 - likewise

        event_handlers.register(fan_out)
        listed_members.register(counts_of)
        resume_listeners.register(release_held)
        usage_counters.register(usage_of)
