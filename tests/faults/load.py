"""The driver: about a hundred events a second, by programs that remember what they were promised.

Two of three events carry an idempotency key, and are sent again under it until they are acknowledged, as an honest
client does. The others are sent once each: what became of one whose answer was lost or was a 503 is not known.
"""

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp

PER_SECOND = 100
# As many requests wait at once at most. While nothing is taken, the others are not sent: a client has its bounds, too.
_CLIENTS = 64
_ANSWER_SECONDS = 15
_BEFORE_THE_NEXT_TRY = 0.5


@dataclass(frozen=True, kw_only=True)
class Try:
    """One request, in seconds of time.monotonic; `taken` when the event was acknowledged."""

    began: float
    ended: float
    taken: bool


@dataclass
class Load:
    """What was sent to `url` as events of `type`; their `subject` is their number.

    `acknowledged` maps numbers to ids. `unknown` are numbers of events without a key that were not acknowledged.
    """

    url: str
    key: str
    type: str
    per_second: float = PER_SECOND
    acknowledged: dict[int, str] = field(default_factory=dict)
    unknown: set[int] = field(default_factory=set)
    outstanding: set[int] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    tries: list[Try] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _giving_up: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Nothing new is sent; what waits for its acknowledgement goes on."""
        self._stopping.set()

    def settled(self) -> bool:
        """Whether everything that was sent has its answer."""
        return self._thread is not None and not self._thread.is_alive()

    def give_up(self) -> None:
        """What is not acknowledged by now stays in `outstanding`."""
        self._giving_up.set()
        if self._thread is not None:
            self._thread.join(_ANSWER_SECONDS + 5)

    @staticmethod
    def has_key(number: int) -> bool:
        return number % 3 != 0

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
            asyncio.TaskGroup() as sending,
        ):
            number, due = 0, time.monotonic()
            while not self._stopping.is_set():
                if len(self.outstanding) < _CLIENTS:
                    self.outstanding.add(number)
                    sending.create_task(self._send(session, number))
                    number += 1
                # After a pause it goes on at its own pace: nobody makes up for it.
                due = max(due + 1 / self.per_second, time.monotonic())
                await asyncio.sleep(due - time.monotonic())

    async def _send(self, session: aiohttp.ClientSession, number: int) -> None:
        event: dict[str, Any] = {"type": self.type, "subject": str(number), "data": {"number": number}}
        if self.has_key(number):
            event["idempotency_key"] = f"{self.type}-{number}"
        while True:
            began = time.monotonic()
            taken = await self._try(session, number, event)
            self.tries.append(Try(began=began, ended=time.monotonic(), taken=taken))
            if not taken:
                await asyncio.sleep(_BEFORE_THE_NEXT_TRY)
            if taken or not self.has_key(number):
                break
            if self._giving_up.is_set():
                return
        if not taken:
            self.unknown.add(number)
        self.outstanding.discard(number)

    async def _try(self, session: aiohttp.ClientSession, number: int, event: dict[str, Any]) -> bool:
        headers = {"Authorization": f"Bearer {self.key}"}
        try:
            async with session.post(f"{self.url}/api/v1/events", json=event, headers=headers) as answer:
                text = await answer.text()
                self.statuses[answer.status] += 1
                if answer.status in (200, 202):
                    self.acknowledged[number] = (await answer.json())["id"]
                    return True
                if answer.status != 503:
                    self.wrong.append(f"{answer.status} {text[:200]}")
        except (aiohttp.ClientError, TimeoutError, OSError):
            self.statuses[0] += 1
        return False
