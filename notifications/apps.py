from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    name = "notifications"

    def ready(self) -> None:
        from delivery.listeners import (  # noqa: PLC0415 - models load after the apps
            dead_letter_listeners,
            disabled_webhook_listeners,
        )
        from notifications.daily_mails import compose_daily  # noqa: PLC0415 - likewise
        from notifications.invitations import compose_invitation  # noqa: PLC0415 - likewise
        from notifications.mails import register_mail  # noqa: PLC0415 - likewise
        from notifications.notice_mails import compose_notice  # noqa: PLC0415 - likewise
        from notifications.notices import announce_dead_letter, announce_disabled  # noqa: PLC0415 - likewise
        from notifications.resuming import release_held  # noqa: PLC0415 - likewise
        from organizations.operations.organizations import resume_listeners  # noqa: PLC0415 - likewise

        dead_letter_listeners.register(announce_dead_letter)
        disabled_webhook_listeners.register(announce_disabled)
        resume_listeners.register(release_held)
        register_mail("invitation", compose_invitation)
        register_mail("notice", compose_notice)
        # For about a day: the next one does not tell what this one would have.
        register_mail("daily_notices", compose_daily, tries=75)
