"""Asks a platform how it is, once a second, as a load balancer does, and judges the answers by what the load saw.

It reads the newest event just as often, as a person does who looks whether everything is well.
"""

import http.client
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.faults.load import Try

READY, STATUS, NEWEST = "/health/ready", "/health/status", "/api/v1/events?limit=1"
# An answer is promised within 2 s; the rest is what a busy machine takes to hand it over.
_ANSWER_SECONDS = 2.5
_PAUSE_SECONDS = 1.0
# The servers may share a finding for some seconds: one is wrong when nothing else was true for this long.
_FINDING_SECONDS = 6.0
# Fewer say too little.
_FEWEST_TRIES = 5


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`status` is None when none came in time, 0 when nobody listened. `failing` are the parts that it names."""

    at: float
    seconds: float
    status: int | None
    failing: tuple[str, ...]


@dataclass
class Watch:
    """Asks in threads of its own until `stop`."""

    port: int
    key: str
    answers: dict[str, list[Answer]] = field(default_factory=lambda: {READY: [], STATUS: [], NEWEST: []})
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        for path in self.answers:
            self._threads.append(threading.Thread(target=self._ask_on, args=(path,), daemon=True))
            self._threads[-1].start()

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(_ANSWER_SECONDS + 2)

    def _ask_on(self, path: str) -> None:
        while not self._ended.is_set():
            self.answers[path].append(self._ask(path))
            self._ended.wait(_PAUSE_SECONDS)

    def _ask(self, path: str) -> Answer:
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_ANSWER_SECONDS)
        status: int | None = 0
        failing: tuple[str, ...] = ()
        try:
            # An operator on the host itself shows no key.
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.key}"} if path == NEWEST else {})
            reply = connection.getresponse()
            status, body = reply.status, reply.read()
            if path in (READY, STATUS) and status in (200, 503):
                failing = tuple(json.loads(body).get("failing", ()))
        except TimeoutError:
            status = None
        except (OSError, http.client.HTTPException, ValueError):
            pass
        finally:
            connection.close()
        return Answer(at=began, seconds=time.monotonic() - began, status=status, failing=failing)

    def late(self, *paths: str) -> list[Answer]:
        return [answer for path in paths for answer in self.answers[path] if answer.status is None]

    def reads_again(self) -> bool:
        """Whether the last look at the newest event showed it."""
        return bool(self.answers[NEWEST]) and self.answers[NEWEST][-1].status == 200

    def untrue(self, tries: Sequence[Try]) -> list[str]:
        """Each answer of /health/ready that says the opposite of what every request of that time saw."""
        wrong = []
        for answer in self.answers[READY]:
            around = [one.taken for one in tries if _overlaps(one, answer)]
            if len(around) < _FEWEST_TRIES or answer.status not in (200, 503):
                continue
            if answer.status == 503 and all(around):
                wrong.append(f"503 for {', '.join(answer.failing)} while events were taken")
            if answer.status == 200 and not any(around):
                wrong.append("200 while no event was taken")
        return wrong

    def named(self) -> set[str]:
        """All parts that /health/status has named as failing."""
        return {part for answer in self.answers[STATUS] for part in answer.failing}

    def summary(self) -> str:
        """What /health/ready said, in the order in which it said it first: "200, 503 postgresql, 200"."""
        said: list[str] = []
        for answer in self.answers[READY]:
            word = {None: "no answer", 0: "refused"}.get(answer.status, f"{answer.status} {' '.join(answer.failing)}")
            if not said or said[-1] != word.strip():
                said.append(word.strip())
        return ", ".join(said if len(said) <= 6 else [*said[:5], "…", said[-1]])


def _overlaps(one: Try, answer: Answer) -> bool:
    return one.ended >= answer.at - _FINDING_SECONDS and one.began <= answer.at + answer.seconds
