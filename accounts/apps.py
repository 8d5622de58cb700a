from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AccountsConfig(AppConfig):
    """The last of INSTALLED_APPS: when it is migrated, every permission exists that its groups hold."""

    name = "accounts"

    def ready(self) -> None:
        from accounts import audit, groups  # noqa: PLC0415 - models load after the apps

        post_migrate.connect(groups.keep_groups, sender=self)
        audit.connect()
