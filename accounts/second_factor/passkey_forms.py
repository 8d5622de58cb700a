"""allauth's forms for passkeys, with bounds.

What a browser passes on of a device is anyone's text, and the packages that read it raise all sorts of errors for what
no device would say: to the person all of it is a passkey that does not fit.
"""

import json
import logging
from typing import Any

from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.webauthn.forms import AddWebAuthnForm, EditWebAuthnForm, ReauthenticateWebAuthnForm
from django import forms

from core.log_lines import log_line
from core.postgresql.faults import is_passing

logger = logging.getLogger(__name__)
# Of a device with a long chain of certificates: some 8 KiB.
_LONGEST = 64 * 1024
_LONGEST_NAME = 100


class _Decoder(json.JSONDecoder):
    def decode(self, s: str, *args: Any) -> Any:
        try:
            return super().decode(s if len(s) <= _LONGEST else "")
        except RecursionError as error:
            raise json.JSONDecodeError("nested too deep", "", 0) from error


def _credential_field() -> forms.JSONField:
    return forms.JSONField(decoder=_Decoder, widget=forms.HiddenInput)


def _misfit(error: Exception) -> forms.ValidationError:
    if is_passing(error):
        raise error  # PostgreSQL's trouble, not the passkey's
    log_line(logger, "a passkey was rejected", error=type(error).__name__)
    refusal: forms.ValidationError = get_adapter().validation_error("incorrect_code")
    return refusal


class AddPasskeyForm(AddWebAuthnForm):  # type: ignore[misc] # allauth has no types
    name = forms.CharField(required=False, max_length=_LONGEST_NAME)
    credential = _credential_field()

    def clean(self) -> Any:
        try:
            return super().clean()
        except forms.ValidationError:
            raise
        except Exception as error:
            raise _misfit(error) from error


class ConfirmPasskeyForm(ReauthenticateWebAuthnForm):  # type: ignore[misc] # likewise
    credential = _credential_field()

    def clean_credential(self) -> Authenticator:
        try:
            return super().clean_credential()
        except forms.ValidationError:
            raise
        except Exception as error:
            raise _misfit(error) from error


class RenamePasskeyForm(EditWebAuthnForm):  # type: ignore[misc] # likewise
    name = forms.CharField(max_length=_LONGEST_NAME)
