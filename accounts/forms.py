"""How the forms of Django and allauth are tightened."""

from typing import TYPE_CHECKING, Any

from allauth.mfa.adapter import get_adapter
from allauth.mfa.base.forms import ReauthenticateForm
from allauth.mfa.base.internal.flows import check_rate_limit
from allauth.mfa.models import Authenticator
from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.contrib.auth.models import User

from accounts.second_factor.state import accept_code
from accounts.sign_in.page import SignInForm
from organizations.user_names import HELP, free_user_name

# Generic for the type checker only.
if TYPE_CHECKING:
    _CreationForm = AdminUserCreationForm[User]
    _ChangeForm = UserChangeForm[User]
else:
    _CreationForm, _ChangeForm = AdminUserCreationForm, UserChangeForm


class AdminSignInForm(SignInForm, AdminAuthenticationForm):
    """The admin's lets in staff only, and says so."""

    error_messages = {**SignInForm.error_messages, **AdminAuthenticationForm.error_messages}


class ConfirmForm(ReauthenticateForm):  # type: ignore[misc] # allauth has no types
    """Takes each code once, by what the account's row says: a cache may forget, and be away."""

    code = forms.CharField(
        max_length=64, widget=forms.TextInput(attrs={"placeholder": "Code", "autocomplete": "one-time-code"})
    )

    def clean_code(self) -> str:
        forget_failures = check_rate_limit(self.user)
        code = str(self.cleaned_data["code"])
        # Passkeys have none.
        rows = Authenticator.objects.filter(user=self.user).exclude(type=Authenticator.Type.WEBAUTHN)
        found = sorted(rows, key=lambda each: each.type != Authenticator.Type.TOTP)
        for authenticator in found:
            if accept_code(authenticator, code):
                authenticator.user = self.user
                self.authenticator = authenticator
                forget_failures()
                return code
        if found:
            self._emit_authentication_failed(found[0])
        raise get_adapter().validation_error("incorrect_code")


class NewAccountForm(_CreationForm):
    """For the admin: a new name looks like no other one."""

    class Meta(AdminUserCreationForm.Meta):
        help_texts = {"username": HELP}

    def clean_username(self) -> str:
        return free_user_name(self.cleaned_data["username"])


class AccountChangeForm(_ChangeForm):
    """A name from before the rules may stay; one that is changed follows them."""

    def clean_username(self) -> Any:
        name = self.cleaned_data["username"]
        return name if "username" not in self.changed_data else free_user_name(name, but=self.instance)
