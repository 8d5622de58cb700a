"""Requests through PUBLIC_URL as a client sends them: no redirect is followed, and no proxy of the environment used."""

import http.client
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

SECONDS = 4.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`certificate_days`: until the certificate ends; None without TLS."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    certificate_days: float | None


def request(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    seconds: float = SECONDS,
) -> Answer:
    """Raises OSError (ssl.SSLError is one) or http.client.HTTPException. TLS is verified; SSL_CERT_FILE is heeded."""
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=seconds, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    try:
        connection.connect()
        days = _certificate_days(connection.sock)
        connection.request(method, parts.path or "/", body=body, headers={"User-Agent": "doctor", **(headers or {})})
        answer = connection.getresponse()
        return Answer(
            status=answer.status,
            headers={name.lower(): value for name, value in answer.getheaders()},
            body=answer.read(1024 * 1024),
            certificate_days=days,
        )
    finally:
        connection.close()


def _certificate_days(connected: Any) -> float | None:
    if not isinstance(connected, ssl.SSLSocket):
        return None
    certificate = connected.getpeercert() or {}
    return (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()) / 86400
