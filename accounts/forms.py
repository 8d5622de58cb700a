"""How allauth's forms are tightened."""

from allauth.mfa.adapter import get_adapter
from allauth.mfa.base.forms import ReauthenticateForm
from allauth.mfa.models import Authenticator
from django.core.cache import cache

# A code of the app is accepted from one step before its own to one after: 90 s. allauth remembers it for 30.
CODE_SECONDS = 120


class ConfirmForm(ReauthenticateForm):  # type: ignore[misc]
    """Accepts each code of the app once (RFC 6238, section 5.2)."""

    def clean_code(self) -> str:
        code: str = super().clean_code()
        used = f"accounts:code:{self.user.pk}:{code.replace(' ', '')}"
        if self.authenticator.type == Authenticator.Type.TOTP and not cache.add(used, 1, CODE_SECONDS):
            raise get_adapter().validation_error("incorrect_code")
        return code
