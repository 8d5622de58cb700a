"""The sign-in page of the console; the admin's takes the same form."""

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, UsernameField
from django.contrib.auth.views import LoginView

from organizations.user_names import find_user
from rest.doors.shares import Budget

# No address is longer; user names have 150.
_LONGEST_NAME = 254
# Of passwords: a longer one is no password, and would be compared all the same.
_LONGEST_PASSWORD = 4096
# Tries of one account that are looked at in a process at the same time.
of_accounts = Budget(share=2)


class SignInForm(AuthenticationForm):
    """Django's, by name or address, with bounds that hold before anything is looked up: Django's is for browsers only.

    Whatever was typed, failures count for the account that is meant, or for the words that mean none.
    """

    username = UsernameField(
        label="User name or email address",
        max_length=_LONGEST_NAME,
        widget=forms.TextInput(attrs={"autofocus": True, "autocomplete": "username", "autocapitalize": "none"}),
    )
    password = forms.CharField(
        strip=False,
        max_length=_LONGEST_PASSWORD,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    error_messages = {
        **AuthenticationForm.error_messages,
        "invalid_login": "The name or address and the password do not match. Passwords are case-sensitive.",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Django has put that of user names here.
        self.fields["username"].max_length = _LONGEST_NAME  # type: ignore[attr-defined]
        self.fields["username"].widget.attrs["maxlength"] = _LONGEST_NAME

    def clean(self) -> dict[str, Any]:
        typed = self.cleaned_data.get("username")
        if not typed or not self.cleaned_data.get("password"):
            return self.cleaned_data
        user = find_user(typed)
        self.cleaned_data["username"] = name = user.get_username() if user else typed.lower()
        with of_accounts.hold(name):
            return super().clean()


class SignInView(LoginView):
    authentication_form = SignInForm
    template_name = "console/sign_in.html"
    redirect_authenticated_user = True
