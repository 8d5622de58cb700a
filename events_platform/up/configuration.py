"""What the environment says about the `up` command itself, and the environment that it gives to its children."""

import json
import os
import secrets
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from marshmallow import ValidationError, fields

from events_platform.up.embedded import server_urls
from installation.local.data_dir import CHECKOUT, DataDir, write_private
from installation.local.errors import UNSUITABLE, UpError

SETTINGS_MODULE = "events_platform.settings"
# Addresses that mean "every interface" are no addresses to call.
_EVERY_INTERFACE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
# What a second terminal needs to work on the same platform.
_SHARED = (
    "DATABASE_URL",
    "REDIS_URL",
    "CELERY_BROKER_URL",
    "SECRET_KEY",
    "SECRET_KEY_FALLBACKS",
    "PUBLIC_URL",
    "WEBHOOK_ALLOWED_NETWORKS",
    "WEBHOOK_ALLOW_HTTP",
    "WEBHOOK_DENIED_NETWORKS",
    "FIELD_ENCRYPTION_KEYS",
    "PORT",
)


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """The settings of the command: where it listens, with how many processes, on which data."""

    data: DataDir
    host: str
    port: int
    web_processes: int
    worker_processes: int
    demo: bool

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Configuration":
        """Read `EVENTS_DATA_DIR`, `HOST`, `PORT`, `WEB_CONCURRENCY`, `WORKER_CONCURRENCY` and `DEMO`."""
        return cls(
            data=DataDir.from_environment(environ),
            host=environ.get("HOST") or "127.0.0.1",
            port=_number(environ, "PORT", default=8000, most=65535),
            web_processes=_number(environ, "WEB_CONCURRENCY", default=2, most=256),
            worker_processes=_number(environ, "WORKER_CONCURRENCY", default=2, most=256),
            demo=_flag(environ, "DEMO", default=True),
        )

    @property
    def callable_host(self) -> str:
        return _EVERY_INTERFACE.get(self.host, self.host)

    @property
    def base_url(self) -> str:
        """Where the web server answers on this machine."""
        host = f"[{self.callable_host}]" if ":" in self.callable_host else self.callable_host
        return f"http://{host}:{self.port}"

    def platform_environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment of every child: `environ`, with what it leaves open filled in."""
        chosen = {name: value for name, value in environ.items() if value or name not in _SHARED}
        if chosen.get("LOG_FORMAT") in ("", "auto"):
            del chosen["LOG_FORMAT"]
        demo = {"WEBHOOK_ALLOWED_NETWORKS": "127.0.0.1/32", "WEBHOOK_ALLOW_HTTP": "true"}
        return {
            "PUBLIC_URL": self.base_url,
            "SECRET_KEY": environ.get("SECRET_KEY") or _kept_secret_key(self.data),
            "DJANGO_SETTINGS_MODULE": SETTINGS_MODULE,
            **(demo if self.demo else {}),
            "LOG_FORMAT": "console",
            # The children write into pipes; whether people read them at a terminal is known here only.
            **({"FORCE_COLOR": "1"} if os.isatty(1) and not environ.get("NO_COLOR") else {}),
            **chosen,
            **server_urls(self.data, environ),
            "EVENTS_DATA_DIR": str(self.data.root),
            "PROMETHEUS_MULTIPROC_DIR": str(self.data.metrics),
            "HOST": self.host,
            "PORT": str(self.port),
            "WEB_CONCURRENCY": str(self.web_processes),
            "WORKER_CONCURRENCY": str(self.worker_processes),
            "PYTHONUNBUFFERED": "1",
        }


def share_environment(data: DataDir, environment: Mapping[str, str]) -> None:
    """Leave what `adopt_environment` reads."""
    shared = {name: environment[name] for name in _SHARED if name in environment}
    write_private(data.environment, json.dumps(shared, indent=1))


def adopt_environment(environ: MutableMapping[str, str]) -> None:
    """Fill `environ` from the platform that runs on the data folder; an `UpError` when none does.

    Nothing happens when `environ` names its own database and Redis.
    """
    if all(environ.get(name) or environ.get(f"{name}_FILE") for name in ("DATABASE_URL", "REDIS_URL")):
        return
    data = DataDir.from_environment(environ)
    try:
        shared: dict[str, str] = json.loads(data.environment.read_text()) if data.in_use() else {}
    except (OSError, ValueError):
        shared = {}
    if not shared:
        where = os.path.relpath(data.root) if data.root.is_relative_to(CHECKOUT) else data.root
        raise UpError(
            f"No platform is running on {where}: start it with `make run`, or set DATABASE_URL and REDIS_URL.",
            status=UNSUITABLE,
        )
    for name, value in shared.items():
        if not environ.get(name):
            environ[name] = value


def _number(environ: Mapping[str, str], name: str, *, default: int, most: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise UpError(f"{name} is {text!r}; it must be a number from 1 to {most}.", status=UNSUITABLE)
    return int(text)


def _flag(environ: Mapping[str, str], name: str, *, default: bool) -> bool:
    """In the forms that Django's settings take: environs reads theirs by the same field."""
    text = environ.get(name)
    if not text:
        return default
    try:
        return bool(fields.Boolean().deserialize(text))
    except ValidationError as error:
        raise UpError(f"{name} is {text!r}; it must be true or false.", status=UNSUITABLE) from error


def _kept_secret_key(data: DataDir) -> str:
    """The key of this data folder, made on the first start."""
    try:
        if kept := data.secret_key.read_text().strip():
            return kept
    except FileNotFoundError:
        pass
    key = secrets.token_urlsafe(50)
    write_private(data.secret_key, key)
    return key
