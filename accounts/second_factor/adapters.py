"""How allauth fits in: nobody signs up by themselves, addresses come from one place, secrets are encrypted."""

from typing import Any, ClassVar

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core import context
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest

from accounts.second_factor.state import SecondFactor, second_factor_of
from core.secrets import decrypt_secret, encrypt_secret
from rest.doors.client_address import client_address


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        # Behind a Unix socket there is no address; limits then count everybody together.
        return client_address(request) or "0.0.0.0"  # noqa: S104 - no address to listen on

    def get_reauthentication_methods(self, user: User) -> list[dict[str, Any]]:
        """Who has given nothing but the password confirms with something else."""
        methods: list[dict[str, Any]] = super().get_reauthentication_methods(user)
        if not methods or second_factor_of(context.request, user) is not SecondFactor.CONFIRM:
            return methods
        return [method for method in methods if method["id"] != "reauthenticate"]


class SecondFactorAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    error_messages: ClassVar[dict[str, Any]] = {
        **DefaultMFAAdapter.error_messages,
        "cannot_delete_authenticator": (
            "This is your last second factor, and staff must have one: add another one first, then remove this."
        ),
    }

    def encrypt(self, text: str) -> str:
        return encrypt_secret(text)

    def decrypt(self, encrypted_text: str) -> str:
        return decrypt_secret(encrypted_text)

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        """Whoever must have a second factor adds another one before removing the last."""
        user: User = authenticator.user
        if not (settings.REQUIRE_STAFF_MFA and user.is_staff):
            return True
        others = Authenticator.objects.filter(user=user).exclude(pk=authenticator.pk)
        return bool(others.exclude(type=Authenticator.Type.RECOVERY_CODES).exists())
