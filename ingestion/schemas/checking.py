"""Events against schemas: asked of processes of their own, within the CPU time that each organization has.

There are two such processes for each web server process, started when they are needed. Organizations whose checks took
long lately share the second one, so that nobody else waits behind them; what an organization has left of its time is
looked at when its turn comes, so whatever it sends at once costs the others no more than that.
"""

import asyncio
import atexit
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from uuid import UUID

from django.conf import settings

from core import bounds
from core.field_errors import FieldError
from core.problems import Problem
from ingestion.cpu_budget import CpuBudget
from ingestion.schemas.messages import Question, Reply, receive, send
from rest.doors.shares import Budget, TooMuchError
from rest.doors.threads import without_place

logger = logging.getLogger(__name__)
# What an event or a schema costs that had to be stopped: its time, and that of the next process's start.
STOPPED_SECONDS = 1.0
# An ordinary question takes 3 ms; whoever asks one that takes longer than this is slow for the next minute.
SLOW_SECONDS = 0.02
SLOW_FOR_SECONDS = 60.0
# How far the processes stand behind other programs: while the host is busy, events without a schema do not wait for
# those that have one. What computes for long gets the more into others' way the nearer it stands: while both of two
# cores computed, whoever else woke up waited for 3.5 ms (p99) with 5 steps between them, and for 0.4 ms with 19.
STEPS_BACK, SLOW_STEPS_BACK = 5, 15
# The system ends the process by its CPU time; this is for one that gets none, or was halted.
ANSWER_SECONDS = 30.0
# Requests in Django that ask, or wait for their turn to.
_asking = Budget(total=bounds.MAX_SCHEMA_CHECKS, share=bounds.MAX_SCHEMA_CHECKS)


class Unchecked(Enum):
    """Why there is no answer: the organization's time is spent, the check was stopped, or no process can be had."""

    SPENT = "spent"
    STOPPED = "stopped"
    AWAY = "away"


_STOPPED = FieldError(pointer="/data", code="too_costly", detail="Checking this took too much time or memory.")
Events = Sequence[tuple[int, str]]
# `asserting` of a Question.
Numbers = Collection[int]
Check = Callable[[UUID, Sequence[str], Events, Numbers], Awaitable[Reply | Unchecked]]


class SchemaChecks:
    """The processes of this one, and what organizations have used of them. May be asked by many threads."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.budget = CpuBudget(clock=clock)
        self._lanes = (_Lane(STEPS_BACK), _Lane(SLOW_STEPS_BACK))
        self._slow: dict[UUID, float] = {}

    async def check_directly(
        self, organization_id: UUID, schemas: Sequence[str], events: Events = (), asserting: Numbers = ()
    ) -> Reply | Unchecked:
        """Within this thread, for those who have one to themselves."""
        return self.check_now(organization_id, schemas, events, asserting)

    async def check(
        self, organization_id: UUID, schemas: Sequence[str], events: Events = (), asserting: Numbers = ()
    ) -> Reply | Unchecked:
        """While the event loop goes on."""
        if self.budget.left(organization_id) <= 0:
            return Unchecked.SPENT
        lane = self._lane(organization_id)
        loop = asyncio.get_running_loop()
        question = Question(str(organization_id), list(schemas), list(events), frozenset(asserting))
        return await loop.run_in_executor(lane.thread, self._ask, lane, organization_id, question)

    def check_now(
        self, organization_id: UUID, schemas: Sequence[str], events: Events = (), asserting: Numbers = ()
    ) -> Reply | Unchecked:
        """What is wrong with the events, each with the number of its schema, and with the schemas themselves.

        Others may come first, each for half a second: neither a connection to the database nor a place that somebody
        else's request may need is held meanwhile. Call it outside of a transaction.
        """
        question = Question(str(organization_id), list(schemas), list(events), frozenset(asserting))
        try:
            with without_place(_asking, keeps_share=True):
                return self._ask(self._lane(organization_id), organization_id, question)
        except TooMuchError:
            return Unchecked.AWAY

    def problem_of(self, why: Unchecked, organization_id: UUID) -> Problem:
        """Why an event or a schema that was not checked is refused."""
        if why is Unchecked.STOPPED:
            return Problem("validation_failed", "The check was stopped: it took too long.", errors=[_STOPPED])
        if why is Unchecked.SPENT:
            return self.budget.refusal(organization_id)
        return Problem("service_unavailable", headers={"Retry-After": "1"})

    def stop(self) -> None:
        """End the processes; they are started again when they are needed."""
        for lane in self._lanes:
            lane.stop()

    def _lane(self, organization_id: UUID) -> "_Lane":
        return self._lanes[self._slow.get(organization_id, 0.0) > self._clock()]

    def _ask(self, lane: "_Lane", organization_id: UUID, question: Question) -> Reply | Unchecked:
        if not lane.turn.acquire(timeout=ANSWER_SECONDS):
            return Unchecked.AWAY
        try:
            if self.budget.left(organization_id) <= 0:
                return Unchecked.SPENT
            answer = lane.ask(question)
            if isinstance(answer, Reply):
                self._charge(organization_id, answer.seconds)
            elif answer is Unchecked.STOPPED:
                self._charge(organization_id, STOPPED_SECONDS)
        finally:
            lane.turn.release()
        return answer

    def _charge(self, organization_id: UUID, seconds: float) -> None:
        self.budget.spend(organization_id, seconds)
        if seconds > SLOW_SECONDS:
            now = self._clock()
            self._slow = {key: until for key, until in self._slow.items() if until > now}
            self._slow[organization_id] = now + SLOW_FOR_SECONDS


class _Lane:
    """A process that checks, one question after the other, and the thread that waits for it."""

    def __init__(self, steps_back: int) -> None:
        self._steps_back = steps_back
        self.turn = threading.Lock()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="schemas")
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket
        self._owner = 0

    def ask(self, question: Question) -> Reply | Unchecked:
        """Its answer. STOPPED: the question took too much time or memory, and ended the process."""
        try:
            self._start()
        except OSError as error:
            logger.error("no process that checks schemas can be started: %s", error)  # noqa: TRY400
            return Unchecked.AWAY
        try:
            send(self._socket, question)
            reply: Reply = receive(self._socket, Reply)
        except TimeoutError:
            logger.error("a process that checks schemas does not answer, and is ended")  # noqa: TRY400
            self.stop()
            return Unchecked.AWAY
        except (EOFError, OSError):
            self.stop()
            logger.warning("a check of organization %s was stopped: it took too long", question.organization)
            return Unchecked.STOPPED
        return reply

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            self._socket.close()
            process.kill()
            process.wait()

    def _start(self) -> None:
        """Unless it runs; a fork starts its own."""
        if self._process is not None and self._owner == os.getpid():
            return
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                command = [sys.executable, "-m", "ingestion.schemas.process", str(self._steps_back)]
                self._process = subprocess.Popen(command, stdin=theirs.fileno(), cwd=settings.BASE_DIR)
            except OSError:
                ours.close()
                raise
        ours.settimeout(ANSWER_SECONDS)
        self._socket, self._owner = ours, os.getpid()


schema_checks = SchemaChecks()
atexit.register(schema_checks.stop)
