"""An ASGI application is asked without a server."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID


class Exchange:
    """A request to an ASGI application; `status` is None until it is answered."""

    def __init__(self, *parts: bytes, path: str = "/api/v1/x", key: UUID | None = None, method: str = "POST") -> None:
        self.messages = [
            {"type": "http.request", "body": part, "more_body": number < len(parts)}
            for number, part in enumerate(parts, start=1)
        ]
        size = sum(map(len, parts))
        self.scope: dict[str, Any] = {
            "type": "http", "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode(),
            "headers": [(b"host", b"127.0.0.1"), (b"content-length", b"%d" % size), (b"x-api-key", str(key).encode())],
            "client": ("192.0.2.1", 1),
        }  # fmt: skip
        self.status: int | None = None
        self.body = b""

    async def receive(self) -> Mapping[str, Any]:
        return self.messages.pop(0) if self.messages else {"type": "http.disconnect"}

    async def send(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            assert self.status is None
            self.status = message["status"]
        else:
            self.body += message["body"]
