"""The app, which finds the handlers of webhooks: the modules `event_handlers` of all installed apps."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class EventsClientConfig(AppConfig):
    """Has no models."""

    name = "events_client.django"
    label = "events_client"

    def ready(self) -> None:
        """Let the handlers register themselves."""
        autodiscover_modules("event_handlers")
