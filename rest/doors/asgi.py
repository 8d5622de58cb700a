"""What stands between an ASGI server and our own answers: the protocol's types, header fields in and out."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
from django.conf import settings

from core.problems import Problem
from core.turns import Owner
from rest.problems import MEDIA_TYPE, problem_body

ConnectionScope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Application = Callable[[ConnectionScope, Receive, Send], Awaitable[None]]
# In the scope of a request that waits for its turn among those of its owner: whose it is.
PUT_OFF = "put_off"


@contextmanager
def put_off(scope: ConnectionScope, owner: Owner) -> Iterator[None]:
    """Nothing is done for this request yet: its connection may end when there are too many."""
    scope[PUT_OFF] = owner
    try:
        yield
    finally:
        del scope[PUT_OFF]


def headers_of(scope: ConnectionScope) -> dict[str, str]:
    """Names in lower case; fields that are repeated are joined by a comma, as Django joins them."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def problem_answer(problem: Problem, request_id: str) -> tuple[bytes, dict[str, str]]:
    """The body of the problem, and its header fields."""
    body = msgspec.json.encode(problem_body(problem, request_id))
    return body, {**problem.headers, "content-type": MEDIA_TYPE}


async def send_answer(send: Send, status: int, body: bytes, fields: Mapping[str, str]) -> None:
    """A whole answer, with what protects its reader."""
    headers = [(name.encode(), value.encode()) for name, value in fields.items()]
    headers += [(b"content-length", b"%d" % len(body)), (b"x-content-type-options", b"nosniff")]
    if settings.SECURE_HSTS_SECONDS:
        headers.append((b"strict-transport-security", _hsts()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _hsts() -> bytes:
    parts = [f"max-age={settings.SECURE_HSTS_SECONDS}"]
    parts += ["includeSubDomains"] if settings.SECURE_HSTS_INCLUDE_SUBDOMAINS else []
    parts += ["preload"] if settings.SECURE_HSTS_PRELOAD else []
    return "; ".join(parts).encode()
