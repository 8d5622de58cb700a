from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    name = "notifications"

    def ready(self) -> None:
        from delivery.listeners import (  # noqa: PLC0415 - models load after the apps
            dead_letter_listeners,
            disabled_webhook_listeners,
        )
        from notifications.invitations import compose_invitation  # noqa: PLC0415 - likewise
        from notifications.mails import register_mail  # noqa: PLC0415 - likewise
        from notifications.notices import announce_dead_letter, announce_disabled  # noqa: PLC0415 - likewise
        from notifications.resuming import release_held  # noqa: PLC0415 - likewise
        from organizations.operations.organizations import resume_listeners  # noqa: PLC0415 - likewise

        dead_letter_listeners.register(announce_dead_letter)
        disabled_webhook_listeners.register(announce_disabled)
        resume_listeners.register(release_held)
        register_mail("invitation", compose_invitation)
