"""What the values of settings must look like. Each function raises a ValidationError or ValueError that says so.

Where a value may be a secret, or hold one, the error does not repeat it.
"""

import ssl
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from environs import ValidationError
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from core.broker.brokers import RABBITMQ_SCHEMES, REDIS_SCHEMES

# libpq's parameters of every connection that DATABASE_URL does not set itself: one whose other end went away without a
# word is given up after some 10 s, and not after two hours as the system would.
DATABASE_WIRE = {
    "connect_timeout": "3",
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "3",
    "keepalives_count": "2",
    "tcp_user_timeout": "10000",
}
# The same from PostgreSQL's side, where a host that died would keep its sessions, and its locks.
DATABASE_SESSION = {
    "synchronous_commit": "on",  # "acknowledged means committed", whatever the server's default is
    "idle_in_transaction_session_timeout": "30s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
MAIL_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
TWO_YEARS = 2 * 365 * 24 * 3600
# What the lists that browsers are built with demand.
_PRELOAD_SECONDS = 365 * 24 * 3600
_SHORTEST_SECRET_KEY = 32


def old_secret_key(text: str) -> str:
    if len(text.strip()) < _SHORTEST_SECRET_KEY:
        # Without the text.
        raise ValidationError("Each is a former SECRET_KEY of 32 or more characters, none of them a comma.")
    return text.strip()


def refuse_preload(seconds: int, *, subdomains: bool, preload: bool) -> None:
    """A domain is taken into the lists of browsers for a year or more with all its subdomains, or not at all."""
    if preload and not (subdomains and seconds >= _PRELOAD_SECONDS):
        raise ImproperlyConfigured(
            "HSTS_PRELOAD is true: it needs HSTS_INCLUDE_SUBDOMAINS=true and HSTS_SECONDS of 31536000 (a year) or more."
        )


def database(url: str) -> dict[str, Any]:
    """A connection URI or key-value string of libpq → Django's database settings."""
    try:
        parts = conninfo_to_dict(url)
    except ProgrammingError as error:
        raise ValueError(f"DATABASE_URL is not a PostgreSQL URL: {error}") from error
    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    named = {names[key]: str(value) for key, value in parts.items() if key in names}
    options = {**DATABASE_WIRE, **{key: value for key, value in parts.items() if key not in names}}
    return {"ENGINE": "core.postgresql", **named, "OPTIONS": options}


def refuse_session_options(given: str) -> None:
    if given:
        raise ImproperlyConfigured(
            "DATABASE_TRANSACTION_POOLING is true, and a pooler accepts no session options: leave out PGOPTIONS, and"
            " `options` in DATABASE_URL. Set them for the role, by ALTER ROLE ... SET."
        )


def session_options(*, given: str, statement_seconds: int) -> str:
    """PostgreSQL's options of each session; those that are `given` win, as the last one does.

    `statement_seconds`: 0 is no limit. Half of it for a lock.
    """
    ours = dict(DATABASE_SESSION)
    if statement_seconds:
        ours |= {"statement_timeout": f"{statement_seconds}s", "lock_timeout": f"{statement_seconds * 500}ms"}
    return " ".join([*(f"-c {name}={value}" for name, value in ours.items()), given]).strip()


def broker(url: str) -> str:
    if urlsplit(url).scheme not in REDIS_SCHEMES | RABBITMQ_SCHEMES:
        # Without the text: it may hold a password.
        raise ValidationError("Use redis://, rediss://, redis+socket://, amqp:// or amqps://.")
    return url


def network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text.strip())
    except ValueError as error:
        raise ValidationError(str(error)) from error


def name_server(text: str) -> str:
    """An address, with a port or without: 192.0.2.53, 192.0.2.53:5353, [2001:db8::53]:53."""
    try:
        parsed = urlsplit(f"dns://{text.strip()}")
        ip_address(parsed.hostname or "")
        good = parsed.netloc == text.strip() and parsed.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValidationError(f"{text!r} is not the address of a name server: 192.0.2.53 or [2001:db8::53]:5353.")
    return text.strip()


def proxy(url: str) -> str:
    """`http://[user:password@]host:port`; an empty one is none."""
    try:
        parts = urlsplit(url)
        good = not url or (parts.scheme == "http" and parts.hostname and parts.port and parts.path in ("", "/"))
    except ValueError:
        good = False
    if not good:
        # Without the text: it may hold a password.
        raise ValidationError("Use http://host:port, with user:password@ before the host if the proxy asks for them.")
    return url


def retry_wait(text: str) -> int:
    if not (text.strip().isdecimal() and 1 <= int(text) <= 7 * 24 * 3600):
        raise ValidationError(f"{text!r} is not from 1 to 604800 seconds")
    return int(text)


def certificates(path: str) -> str:
    """The path of a PEM file with certificates of authorities; an empty one is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if path:
            context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        pass
    except OSError as error:
        raise ValidationError(f"{path} cannot be read ({error.strerror}).") from error
    if path and not context.cert_store_stats()["x509_ca"]:
        raise ValidationError(f"{path} contains no certificate of an authority in PEM format.")
    return path


def fernet_key(text: str) -> str:
    try:
        Fernet(text.strip())
    except ValueError:
        # Without the text: it may be a key with one letter missing.
        raise ValidationError("A key is 32 bytes in URL-safe base64, as Fernet.generate_key() makes it.") from None
    return text.strip()


def mail_server(text: str) -> str:
    try:
        url = urlsplit(text)
        good = text == "console:" or (url.scheme in MAIL_PORTS and bool(url.hostname) and url.port != 0)
    except ValueError:
        good = False
    if not good:
        # Without the text: it may hold a password.
        raise ValidationError("Use console:, or smtp://, smtp+tls:// or smtps:// with user:password@host:port.")
    return text


def refuse_mail_in_logs(scheme: str, *, https: bool, wanted: bool) -> None:
    """Links that set a new password, or let somebody in, are for one person; logs are read by many."""
    if scheme == "console" and https and not wanted:
        raise ImproperlyConfigured(
            "EMAIL_URL is console: (its default) with an https PUBLIC_URL: links of mails would go into the logs, and"
            " whoever reads those could set anybody's password. Set EMAIL_URL to a mail server, or EMAIL_TO_LOG=true"
            " if that is meant."
        )


def metrics_token(text: str) -> str:
    if text and not (len(text) >= 16 and text.isascii() and text.isprintable() and " " not in text):
        # Without the text.
        raise ValidationError("A token is 16 or more ASCII characters, none of them a space.")
    return text
