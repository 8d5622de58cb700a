"""How deep the way of one event is: from the ASGI application's entry to its statement."""

import asyncio
import inspect
from pathlib import Path
from types import CodeType
from typing import Any
from uuid import UUID, uuid4

import pytest

from core.turns import FairTime
from events_platform.front_door import FrontDoor
from ingestion.intake import door as door_module
from ingestion.intake import writer as writer_module
from organizations.keys.key_format import generate_key, hash_key, public_id
from tests.support.http.exchange import Exchange

ROOT = Path(__file__).parents[2]
MOST_FRAMES = 8
KEY = generate_key("test")


class FakePorts:
    """Databases and Redis at once: one key is known, and the code that stands at the storing statement is noted."""

    def __init__(self) -> None:
        self.request: asyncio.Task[None] | None = None
        self.codes: list[CodeType] = []

    async def find(self, *_: Any) -> tuple[Any, ...]:
        return (public_id(KEY), hash_key(KEY), uuid4(), "key", ["events:write"], None, None, uuid4(), "pro", None, None)

    async def evaluate(self, *_: Any) -> list[int]:
        return [1, 1, 60_000]

    async def fetch(self, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
        if "INSERT INTO ingestion_event" not in statement:
            return []
        assert self.request is not None
        waiting: Any = self.request.get_coro()
        while inspect.iscoroutine(waiting):
            self.codes.append(waiting.cr_code)
            waiting = waiting.cr_await
        self.codes += [frame.frame.f_code for frame in inspect.stack(0)[1:]]
        return [(UUID(parameters["ids"].strip("{}")), None)]


def test_one_event_passes_few_frames_to_its_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = FakePorts()
    for name in ("PooledDatabase", "GatedDatabase", "AsyncRedis"):
        monkeypatch.setattr(door_module, name, lambda: ports)
    monkeypatch.setattr(door_module, "use_door", lambda *_: None)
    monkeypatch.setattr(writer_module, "wake_processing", lambda: None)
    exchange = Exchange(b'{"type":"t","data":1}', path="/api/v1/events")
    exchange.scope["headers"][2:] = [(b"x-api-key", KEY.encode()), (b"content-type", b"application/json")]
    exchange.scope["scheme"] = "http"

    async def run() -> None:
        door = FrontDoor(_no_django, FairTime())
        ports.request = asyncio.create_task(door(exchange.scope, exchange.receive, exchange.send))
        await ports.request

    asyncio.run(run())
    assert exchange.status == 202, exchange.body
    own = [code.co_qualname for code in ports.codes if _is_own(Path(code.co_filename))]
    assert own[0] == "FrontDoor.__call__"
    assert len(own) <= MOST_FRAMES, own


async def _no_django(*_: Any) -> None:
    raise AssertionError("the intake takes it")


def _is_own(path: Path) -> bool:
    return path.is_relative_to(ROOT) and not any(path.is_relative_to(ROOT / name) for name in (".venv", "tests"))
