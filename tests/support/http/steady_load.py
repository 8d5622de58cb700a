"""A hundred requests a second until SIGTERM, of programs and people; what became of them is printed as JSON at the end.

`python -m tests.support.http.steady_load URL KEY`: seven of ten send an event, the others read a list of the API or a
page, a third of all on a connection of their own. Each request is made once: nothing is hidden by trying again.
"""

import asyncio
import json
import signal
import sys
import time
from collections import Counter

import aiohttp

REQUESTS_PER_SECOND = 100
# Far above what any answer takes: what takes longer than a proxy waits has failed.
_TIMEOUT = aiohttp.ClientTimeout(total=60)


class Load:
    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"}
        self.accepted: list[str] = []
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []
        self.slowest = 0.0

    async def run(self, end: asyncio.Event) -> None:
        started = time.monotonic()
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as kept, asyncio.TaskGroup() as requests:
            number = 0
            while not end.is_set():
                requests.create_task(self._request(number, kept))
                number += 1
                await asyncio.sleep(max(0.0, started + number / REQUESTS_PER_SECOND - time.monotonic()))

    async def _request(self, number: int, kept: aiohttp.ClientSession) -> None:
        started = time.monotonic()
        try:
            if number % 3:
                await self._one_of_them(number, kept)
            else:
                async with aiohttp.ClientSession(timeout=_TIMEOUT) as own:
                    await self._one_of_them(number, own)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.failures.append(f"{type(error).__name__}: {error}")
        self.slowest = max(self.slowest, time.monotonic() - started)

    async def _one_of_them(self, number: int, session: aiohttp.ClientSession) -> None:
        kind = number % 10
        if kind == 0:
            await self._get(session, "/console/sign-in/")
        elif kind < 3:
            await self._get(session, "/api/v1/events?limit=5")
        else:
            event = {"type": "load.sent", "data": {"number": number}}
            async with session.post(f"{self._url}/api/v1/events", json=event, headers=self._headers) as answer:
                self._note(answer.status, await answer.text())
                if answer.status == 202:
                    self.accepted.append((await answer.json())["id"])

    async def _get(self, session: aiohttp.ClientSession, path: str) -> None:
        async with session.get(f"{self._url}{path}", headers=self._headers) as answer:
            self._note(answer.status, await answer.text())

    def _note(self, status: int, text: str) -> None:
        self.statuses[status] += 1
        if status >= 400:
            self.failures.append(f"{status}: {text[:200]}")


async def main(url: str, key: str) -> None:
    load, end = Load(url, key), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    await load.run(end)
    told = {"accepted": load.accepted, "statuses": load.statuses, "failures": load.failures, "slowest": load.slowest}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
