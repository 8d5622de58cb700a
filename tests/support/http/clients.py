"""HTTP to a really running server."""

import http.client
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from organizations.models import ApiKey, Organization


@dataclass(frozen=True, kw_only=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One keep-alive connection with one API key. Raises OSError or HTTPException when the server goes away."""

    def __init__(self, base_url: str, key: str | None) -> None:
        self.key = key
        self._connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=30)

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **({"Authorization": f"Bearer {self.key}"} if self.key else {})}
        self._connection.request(method, path, body, {**sent, **headers})
        answer = self._connection.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(status=answer.status, headers=fields, body=answer.read())

    def get(self, path: str, **headers: str) -> Reply:
        return self.request("GET", path, **headers)

    def post(self, path: str, body: Any, **headers: str) -> Reply:
        return self.request("POST", path, body, **headers)

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True, kw_only=True)
class Sender:
    """An organization that sends through a running server."""

    organization: "Organization"
    api_key: "ApiKey"
    client: Client


def make_sender(base_url: str, *, organization: "Organization | None" = None, **values: Any) -> Sender:
    """Commits an organization and a key; `values` are those of make_key."""
    # Not above: tests.support.http.sending, of which tests start many, does without Django and its seconds.
    from tests.factories import make_key, make_organization  # noqa: PLC0415

    organization = organization or make_organization(plan="business")
    api_key, plaintext = make_key(organization, **values)
    return Sender(organization=organization, api_key=api_key, client=Client(base_url, plaintext))
