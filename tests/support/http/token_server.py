"""An OAuth 2.0 server on loopback that grants client credentials, by the public library `oauthlib`."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote_plus

from oauthlib.oauth2 import BackendApplicationServer, RequestValidator  # type: ignore[import-untyped]

CLIENT_ID, CLIENT_SECRET = "platform", "s3cret & more"


class _Client:
    client_id = CLIENT_ID


class _Validator(RequestValidator):  # type: ignore[misc] # oauthlib has no types
    """Knows one client, which has to use HTTP Basic (RFC 6749, 2.3.1)."""

    def authenticate_client(self, request: Any, *args: Any, **options: Any) -> bool:
        kind, _, coded = request.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(coded).decode().partition(":")
        request.client = _Client()
        return kind == "Basic" and (unquote_plus(user), unquote_plus(password)) == (CLIENT_ID, CLIENT_SECRET)

    def validate_grant_type(self, client_id: str, grant_type: str, *args: Any, **options: Any) -> bool:
        return grant_type == "client_credentials"

    def get_default_scopes(self, *args: Any, **options: Any) -> list[str]:
        return ["webhooks"]

    def validate_scopes(self, client_id: str, scopes: list[str], *args: Any, **options: Any) -> bool:
        return set(scopes) <= {"webhooks", "more"}

    def save_bearer_token(self, token: dict[str, Any], *args: Any, **options: Any) -> None:
        pass


class TokenServer:
    """`tokens`: all that it gave, in order. `answer`: sent in place of what the library says, if it is set."""

    def __init__(self, *, expires_in: int) -> None:
        self.tokens: list[str] = []
        self.scopes: list[str] = []
        self.answer: tuple[int, bytes] | None = None
        self.url = ""
        self._server = BackendApplicationServer(_Validator(), token_expires_in=expires_in)

    def respond(self, uri: str, body: str, headers: dict[str, str]) -> tuple[int, bytes]:
        _, text, status = self._server.create_token_response(uri, "POST", body, headers)
        if status == 200:
            self.tokens.append(json.loads(text)["access_token"])
            self.scopes.append(json.loads(text)["scope"])
        return self.answer or (status, text.encode())


@contextmanager
def granting_tokens(*, expires_in: int = 3600) -> Iterator[TokenServer]:
    """A server at `url`, whose tokens last so many seconds."""
    tokens = TokenServer(expires_in=expires_in)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, answer = tokens.respond(self.path, body, dict(self.headers))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        tokens.url = f"http://127.0.0.1:{server.server_port}/token"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield tokens
        finally:
            server.shutdown()
