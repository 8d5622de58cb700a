from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AccountsConfig(AppConfig):
    """The last of INSTALLED_APPS: when it is migrated, every permission exists that its groups hold."""

    name = "accounts"

    def ready(self) -> None:
        from accounts import audit, groups  # noqa: PLC0415 - models load after the apps
        from accounts.notices import compose_notice  # noqa: PLC0415 - likewise
        from accounts.reset_mail import compose_reset  # noqa: PLC0415 - likewise
        from notifications.mails import register_mail  # noqa: PLC0415 - likewise

        post_migrate.connect(groups.keep_groups, sender=self)
        audit.connect()
        register_mail("password_reset", compose_reset)
        register_mail("account_notice", compose_notice)
