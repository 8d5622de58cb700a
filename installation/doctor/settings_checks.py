"""Settings that let the platform start, and that somebody will regret."""

import os
import stat
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import validate_host

from core.environment import SECRETS, holds_placeholder, is_guessable
from core.version import VERSION, revision
from installation.doctor.checks import Check, Visit
from installation.doctor.findings import CheckOutcome, good, problem, skipped, warning

PART = "settings"
_SHORT_HSTS_SECONDS = 24 * 3600
# Where Docker and Kubernetes mount secrets: nobody else is in the container, and its user must read them.
_MOUNTED = (Path("/run/secrets"), Path("/var/run/secrets"))
_NEW_KEY = 'python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'
_RESTART = "restart all processes"


def public_host() -> str:
    return urlsplit(settings.PUBLIC_URL).hostname or ""


def is_loopback(host: str) -> bool:
    """Whether only this machine can mean itself by it."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_private(host: str) -> bool:
    """Whether it looks like a name or an address of a network of one's own."""
    try:
        return ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".lan", ".home.arpa"))


def _version(visit: Visit) -> CheckOutcome:
    return good(f"This is version {VERSION}, revision {revision()}.")


def _public_url(visit: Visit) -> CheckOutcome:
    host = public_host()
    if settings.HTTPS:
        return good(f"PUBLIC_URL is {settings.PUBLIC_URL}.")
    if is_loopback(host):
        return good(f"PUBLIC_URL is {settings.PUBLIC_URL}: only this machine can reach it.")
    remedy = (
        f"Have a proxy terminate TLS (docs/operations/deploy.md), set PUBLIC_URL=https://{host} and {_RESTART}: only"
        " then are cookies secure, and HTTP is redirected."
    )
    what = f"PUBLIC_URL is {settings.PUBLIC_URL}: passwords, sessions and API keys travel in the clear."
    return warning(what, remedy) if _is_private(host) else problem(what, remedy)


def _allowed_hosts(visit: Visit) -> CheckOutcome:
    host = public_host()
    if "*" in settings.ALLOWED_HOSTS:
        return problem(
            "ALLOWED_HOSTS contains *: anybody who sends a request chooses the host in the links in mails.",
            f"Set ALLOWED_HOSTS={host},127.0.0.1,localhost and {_RESTART}.",
        )
    if not validate_host(f"[{host}]" if ":" in host else host, settings.ALLOWED_HOSTS):
        return problem(
            f"ALLOWED_HOSTS does not contain {host}, the host of PUBLIC_URL: every request through it is refused.",
            f"Set ALLOWED_HOSTS={','.join([host, *settings.ALLOWED_HOSTS])} (or leave it out) and {_RESTART}.",
        )
    return good("ALLOWED_HOSTS contains the host of PUBLIC_URL.")


def _debug(visit: Visit) -> CheckOutcome:
    if not settings.DEBUG:
        return good("DEBUG is off.")
    remedy = f"Remove DEBUG and {_RESTART}."
    what = "DEBUG is on: its pages show settings and data to whoever sees an error."
    return warning(what, remedy) if is_loopback(public_host()) else problem(what, remedy)


def _secret_key(visit: Visit) -> CheckOutcome:
    key = settings.SECRET_KEY
    if not (is_guessable(key) or holds_placeholder(key)):
        return good("SECRET_KEY looks random.")
    return problem(
        "SECRET_KEY can be guessed: anybody who does can sign in as anybody else.",
        "Make one with `openssl rand -base64 48`. If FIELD_ENCRYPTION_KEYS is empty, set that first and run `manage.py"
        f" rotate_encryption_keys`; then set the new SECRET_KEY and {_RESTART}.",
    )


def _encryption_keys(visit: Visit) -> CheckOutcome:
    if settings.FIELD_ENCRYPTION_KEYS:
        return good("FIELD_ENCRYPTION_KEYS is set.")
    if not settings.HTTPS and is_loopback(public_host()):
        return good("FIELD_ENCRYPTION_KEYS is empty, which is fine for a trial on this machine.")
    return warning(
        "FIELD_ENCRYPTION_KEYS is empty: with a new SECRET_KEY, stored webhook secrets and second factors are lost.",
        f"Make a key with `{_NEW_KEY}`, set FIELD_ENCRYPTION_KEYS to it, {_RESTART}, and run `manage.py"
        " rotate_encryption_keys`. Keep a copy of the key in a second place, apart from the backups.",
    )


def _trusted_proxies(visit: Visit) -> CheckOutcome:
    if settings.TRUSTED_PROXIES or not settings.HTTPS:
        return good(f"TRUSTED_PROXIES is {settings.TRUSTED_PROXIES}.")
    return problem(
        "TRUSTED_PROXIES is 0 with an https PUBLIC_URL: the proxy that terminates TLS is not trusted. Pages redirect"
        " without end, and lock-outs see everybody as one address.",
        f"Set TRUSTED_PROXIES to the number of proxies in front (1 with deploy/nginx.conf) and {_RESTART}.",
    )


def _webhook_http(visit: Visit) -> CheckOutcome:
    if not (settings.WEBHOOK_ALLOW_HTTP and settings.HTTPS):
        return good("Webhooks go to https only." if settings.HTTPS else "Webhooks may go where a trial needs them.")
    return warning(
        "WEBHOOK_ALLOW_HTTP is true: webhook payloads may travel in the clear.",
        f"Remove WEBHOOK_ALLOW_HTTP and {_RESTART}, unless all endpoints are in a network that you trust.",
    )


def _webhook_networks(visit: Visit) -> CheckOutcome:
    networks = settings.WEBHOOK_ALLOWED_NETWORKS
    if not (networks and settings.HTTPS):
        return good(
            "Webhooks reach no private network." if not networks else "In a trial, webhooks may reach this machine."
        )
    return warning(
        f"WEBHOOK_ALLOWED_NETWORKS lets every tenant's webhooks reach {', '.join(map(str, networks))}.",
        f"Remove what no endpoint needs and {_RESTART}; nothing else in those networks should answer without a"
        " password.",
    )


def _staff_second_factor(visit: Visit) -> CheckOutcome:
    if settings.REQUIRE_STAFF_MFA or not settings.HTTPS:
        return good(
            "Staff need a second factor."
            if settings.REQUIRE_STAFF_MFA
            else "Without https, no second factor is required."
        )
    return warning(
        "REQUIRE_STAFF_MFA is false: a password alone opens the data of every tenant.",
        f"Remove REQUIRE_STAFF_MFA and {_RESTART}; staff must then set one up.",
    )


def _hsts(visit: Visit) -> CheckOutcome:
    seconds = settings.SECURE_HSTS_SECONDS
    if not settings.HTTPS:
        return skipped("HSTS needs an https PUBLIC_URL.")
    if seconds:
        return good(f"Browsers use only https for {seconds} s after a visit.")
    return warning(
        "HSTS_SECONDS is 0: a first request over plain HTTP can be read and changed on the way.",
        f"Once https works for all, set HSTS_SECONDS={_SHORT_HSTS_SECONDS} and {_RESTART}; raise it to 31536000 later.",
    )


def _secret_files(visit: Visit) -> CheckOutcome:
    paths = {name: Path(path) for name in SECRETS if (path := os.environ.get(f"{name}_FILE"))}
    bare = [f"{name}_FILE={path}" for name, path in paths.items() if _is_open_to_all(path)]
    if not bare:
        return good("The secret files are not readable by others." if paths else "No secret is in a file.")
    return problem(
        f"Every user of this machine can read {', '.join(bare)}.",
        f"chmod 640 {' '.join(part.partition('=')[2] for part in bare)}, with the platform's group as their group.",
    )


def _is_open_to_all(path: Path) -> bool:
    path = path.resolve()
    if any(path.is_relative_to(folder) for folder in _MOUNTED):
        return False
    return bool(path.stat().st_mode & stat.S_IROTH) and all(
        folder.stat().st_mode & stat.S_IXOTH for folder in path.parents
    )


CHECKS = (
    Check(part=PART, name="version", run=_version),
    Check(part=PART, name="public_url", run=_public_url),
    Check(part=PART, name="allowed_hosts", run=_allowed_hosts),
    Check(part=PART, name="debug", run=_debug),
    Check(part=PART, name="secret_key", run=_secret_key),
    Check(part=PART, name="secret_files", run=_secret_files),
    Check(part=PART, name="encryption_keys", run=_encryption_keys),
    Check(part=PART, name="trusted_proxies", run=_trusted_proxies),
    Check(part=PART, name="hsts", run=_hsts),
    Check(part=PART, name="staff_second_factor", run=_staff_second_factor),
    Check(part=PART, name="webhook_http", run=_webhook_http),
    Check(part=PART, name="webhook_networks", run=_webhook_networks),
)
