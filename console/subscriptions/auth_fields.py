"""How a webhook authorizes itself at its endpoint, as fields of its form: `auth_<member>` for each member of `auth`."""

from collections.abc import Mapping
from typing import Any

from django import forms

from console.forms import TextField
from delivery.endpoints.auth_rules import MAX_CREDENTIAL, MAX_PEM, MTLS, OAUTH2, SECRETS
from delivery.endpoints.sealed_auth import show_auth

_MEMBERS = {OAUTH2: ("token_url", "client_id", "client_secret", "scope"), MTLS: ("certificate", "private_key")}
_OPTIONAL = ("scope",)
# In their order; the first one stands for all of them.
PARTS = ("auth_type", *(f"auth_{name}" for names in _MEMBERS.values() for name in names))
_KEPT = " What is stored is not shown. Left empty, it is kept, unless {} leads to another host."


def auth_fields(stored: Mapping[str, Any] | None, *, chosen: str | None) -> dict[str, forms.Field]:
    """Those of every type; the script shows those of the type that is chosen.

    `stored` is the row's `auth`. `chosen` is the type that was sent, whose members are looked at; None for a form that
    was not sent.
    """
    fields = {"auth_type": _type_field(), **{f"auth_{name}": field for name, field in _member_fields().items()}}
    for kind, names in _MEMBERS.items():
        kept = SECRETS[kind] if stored and stored["type"] == kind else ()
        for name in names:
            field = fields[f"auth_{name}"]
            field.widget.attrs = {"autocomplete": "off", "spellcheck": "false", **field.widget.attrs, "data-only": kind}
            field.required = name not in (*kept, *_OPTIONAL) and chosen in (None, kind)
            if chosen not in (None, kind):
                field.validators = []  # nobody sees it, so nothing is said of it
            if name in kept:
                field.help_text = f"{field.help_text}{_KEPT.format('a URL' if kind == OAUTH2 else 'the URL')}".strip()
    return fields


def auth_initial(stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is no secret."""
    shown = show_auth(stored) or {"type": ""}
    return {f"auth_{name}": value for name, value in shown.items() if name != "expires_at"}


def read_auth(cleaned: Mapping[str, Any]) -> dict[str, Any] | None:
    """As the API takes it, without the secrets that were left empty. KeyError when a field could not be read."""
    kind = cleaned["auth_type"]
    if not kind:
        return None
    given = {name: cleaned[f"auth_{name}"] for name in _MEMBERS[kind]}
    return {"type": kind, **{name: value for name, value in given.items() if value}}


def complete(given: dict[str, Any] | None, stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """With what is stored beside it, to compare the two."""
    if given is None or stored is None or stored["type"] != given["type"]:
        return given
    kept = (*SECRETS[given["type"]], "expires_at")
    return {**{name: stored[name] for name in kept if name in stored}, **given}


def _type_field() -> forms.Field:
    return forms.ChoiceField(
        required=False,
        choices=[
            ("", "None, or a header above"),
            (OAUTH2, "OAuth2: a token by client credentials"),
            (MTLS, "Mutual TLS: a client certificate"),
        ],
        label="Authorization",
        help_text="For endpoints that ask for more than a header.",
        widget=forms.Select(attrs={"data-shows": ""}),
    )


def _member_fields() -> dict[str, forms.Field]:
    code = {"class": "code", "rows": 4}
    return {
        "token_url": forms.CharField(
            max_length=2048,
            label="OAuth2: token URL",
            help_text="Where the token comes from: a public https address.",
            widget=forms.URLInput(attrs={"placeholder": "https://auth.example.com/oauth/token"}),
        ),
        "client_id": forms.CharField(max_length=MAX_CREDENTIAL, label="OAuth2: client id"),
        "client_secret": forms.CharField(
            max_length=MAX_CREDENTIAL,
            label="OAuth2: client secret",
            # What was typed comes back with the form, or what is stored would be kept instead; that never comes.
            widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}, render_value=True),
        ),
        "scope": forms.CharField(
            max_length=MAX_CREDENTIAL, label="OAuth2: scopes", help_text="Words with a space between them."
        ),
        "certificate": TextField(
            max_length=MAX_PEM,
            label="Mutual TLS: certificate",
            help_text="In PEM, the client's own first, then its chain.",
            widget=forms.Textarea(attrs={**code, "placeholder": "-----BEGIN CERTIFICATE-----"}),
        ),
        "private_key": TextField(
            max_length=MAX_PEM,
            label="Mutual TLS: private key",
            help_text="In PEM, without a password.",
            widget=forms.Textarea(attrs={**code, "placeholder": "-----BEGIN PRIVATE KEY-----"}),
        ),
    }
