"""Reads settings from environment variables, and secrets from files too: `SECRET_KEY_FILE` in place of `SECRET_KEY`.

An environment is seen by every child process and in many a crash report; a file need not be.
"""

import os
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from environs import Env, EnvValidationError

SECRETS = (
    "SECRET_KEY",
    "SECRET_KEY_FALLBACKS",
    "DATABASE_URL",
    "REDIS_URL",
    "CELERY_BROKER_URL",
    "FIELD_ENCRYPTION_KEYS",
    "EMAIL_URL",
    "METRICS_TOKEN",
)
# Words of the example files under deploy/, and what people leave in files that they have copied.
_PLACEHOLDERS = ("change-me", "changeme", "change_me", "replace-me", "placeholder", "insecure")
_FEWEST_DIFFERENT_CHARACTERS = 10


class Environment(Env):
    """`Env` whose `SECRETS` may be named by a file; the file's trailing line ends are no part of the value."""

    def _get_value(self, env_key: str, default: Any) -> Any:
        path = os.environ.get(f"{env_key}_FILE") if env_key in SECRETS else None
        if not path:
            return super()._get_value(env_key, default)
        if os.environ.get(env_key):
            raise _bad(env_key, "both are set; keep one")
        try:
            value = Path(path).read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise _bad(env_key, f"{path} cannot be read ({getattr(error, 'strerror', None) or 'no text'})") from error
        if not value:
            raise _bad(env_key, f"{path} is empty")
        return value


def _bad(name: str, what: str) -> EnvValidationError:
    return EnvValidationError(f"{name} and {name}_FILE: {what}.", [what])


def refuse_unsafe(*, debug: bool, secrets: dict[str, str]) -> None:
    """For a platform that the world reaches by https: no debug pages, no secret that stands in an example.

    Raises `ImproperlyConfigured`, which names the setting and never the value.
    """
    if debug:
        raise ImproperlyConfigured("DEBUG is true with an https PUBLIC_URL: its pages show settings and data.")
    for name, value in secrets.items():
        if holds_placeholder(value):
            raise ImproperlyConfigured(f"{name} still holds the placeholder of an example: set one of your own.")
    if is_guessable(secrets["SECRET_KEY"]):
        raise ImproperlyConfigured("SECRET_KEY is too easy to guess: make it of 50 random characters.")


def holds_placeholder(value: str) -> bool:
    """Whether it was copied from an example, and not made."""
    return any(word in value.lower() for word in _PLACEHOLDERS)


def is_guessable(secret_key: str) -> bool:
    """Whether it was typed rather than made at random."""
    return len(set(secret_key)) < _FEWEST_DIFFERENT_CHARACTERS
