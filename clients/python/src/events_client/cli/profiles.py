"""Where `evp` sends and as whom: the environment, or a profile that `evp login` keeps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import typer

from events_client.client import Client
from events_client.errors import ConfigurationError

SERVICE = "evp"
DEFAULT = "default"
# A person waits: what a restart takes, and no more.
_RETRY_SECONDS = 10.0


class Profile(msgspec.Struct, omit_defaults=True):
    """An address; the key only where the system has no keyring."""

    url: str
    api_key: str | None = None


def config_file() -> Path:
    """The file of the profiles, private to the user."""
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "evp" / "profiles.json"


def state_folder() -> Path:
    """The folder for what `evp` remembers between two runs."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "evp"


def read_profiles() -> dict[str, Profile]:
    """All profiles; raises ConfigurationError when the file is none of ours."""
    try:
        return msgspec.json.decode(config_file().read_bytes(), type=dict[str, Profile])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{config_file()} cannot be read ({error}): remove it, then `evp login`") from None


def save_profile(name: str, url: str, api_key: str) -> str:
    """Keep a profile; says where the key is."""
    profiles = read_profiles()
    in_keyring = _keep_in_keyring(name, api_key)
    profiles[name] = Profile(url, None if in_keyring else api_key)
    file = config_file()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = file.with_suffix(".new")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        os.fchmod(opened.fileno(), 0o600)
        opened.write(msgspec.json.format(msgspec.json.encode(profiles)) + b"\n")
    partial.replace(file)
    return "the system's keyring" if in_keyring else f"{file}, which only you can read"


def client_of(context: typer.Context, **options: Any) -> Client:
    """The client that a command uses: of `--profile`, else of the environment, else of the default profile."""
    chosen = context.find_root().params.get("profile")
    if chosen is None and os.environ.get("EVP_URL") and os.environ.get("EVP_API_KEY"):
        return Client(**{"retry_seconds": _RETRY_SECONDS, **options})
    name = chosen or DEFAULT
    profile = read_profiles().get(name)
    if profile is None:
        raise ConfigurationError(
            f"there is no profile {name!r}: run `evp login`, or set EVP_URL and EVP_API_KEY"
            if chosen
            else "not signed in: run `evp login`, or set EVP_URL and EVP_API_KEY"
        )
    url = profile.url if chosen else os.environ.get("EVP_URL") or profile.url
    key = (None if chosen else os.environ.get("EVP_API_KEY")) or profile.api_key or _from_keyring(name)
    return Client(url, key, **{"retry_seconds": _RETRY_SECONDS, **options})


def _keep_in_keyring(name: str, api_key: str) -> bool:
    try:
        import keyring  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415 - optional

        keyring.set_password(SERVICE, name, api_key)
        return bool(keyring.get_password(SERVICE, name) == api_key)
    except Exception:  # noqa: BLE001 - it is not there, has no back end, or is locked: the file will do
        return False


def _from_keyring(name: str) -> str | None:
    try:
        import keyring  # noqa: PLC0415 - optional

        found: str | None = keyring.get_password(SERVICE, name)
    except Exception as error:
        raise ConfigurationError(f"the keyring does not give the key of {name!r} ({error}): `evp login`") from error
    return found
