"""How a webhook authorizes itself, as rows hold it: its secrets, and whole certificates, are encrypted."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from core.secrets import UnreadableSecretError
from delivery.endpoints.auth_rules import OAUTH2, SECRETS
from delivery.endpoints.credentials import Auth, ClientCertificate, ClientCredentials
from delivery.endpoints.sealed_headers import open_headers, seal_headers


def seal_auth(auth: Mapping[str, Any]) -> dict[str, Any]:
    """For the row. Two calls never give the same."""
    return {**auth, **seal_headers({name: auth[name] for name in SECRETS[auth["type"]]})}


def open_auth(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What was sealed; UnreadableSecretError when no key fits."""
    return {**stored, **open_headers({name: stored[name] for name in SECRETS[stored["type"]]})}


def open_readable_auth(stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What was sealed; as it is stored when no key fits any more, so that it can still be replaced."""
    if stored is None:
        return None
    try:
        return open_auth(stored)
    except UnreadableSecretError:
        return dict(stored)


def show_auth(stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """For people and clients: without what is secret."""
    if stored is None:
        return None
    return {name: value for name, value in stored.items() if name not in SECRETS[stored["type"]]}


def auth_of(stored: Mapping[str, Any] | None) -> Auth | None:
    """What a sender needs; UnreadableSecretError when no key fits."""
    return None if stored is None else _auth_of(msgspec.json.encode(stored))


# A certificate with its chain has up to 16 KiB: at most some 10 MB.
@lru_cache(maxsize=256)
def _auth_of(stored: bytes) -> Auth:
    auth = open_auth(msgspec.json.decode(stored))
    if auth["type"] == OAUTH2:
        return ClientCredentials(
            token_url=auth["token_url"],
            client_id=auth["client_id"],
            client_secret=auth["client_secret"],
            scope=auth.get("scope"),
        )
    return ClientCertificate(certificate=auth["certificate"], private_key=auth["private_key"])
