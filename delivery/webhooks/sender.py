"""Send what is due: claim, send concurrently, record in bulk, as long as something is due or in flight.

Claiming never stops while there is room: who may have how much of it is decided in delivery.webhooks.shares.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
from django.db import connections, transaction
from django.utils import timezone

from core.ports import Database
from core.ports.batcher import Batcher
from core.postgresql.faults import is_passing
from core.postgresql.floors import Floors
from core.tracing import Span, Value, read_context, sending_span
from delivery.kinds import RULES
from delivery.listeners import DeadLetter, DisabledWebhook, tell_dead_letter, tell_disabled_webhook
from delivery.ordering.queues import go_on
from delivery.outcome_counts.counting import OutcomeCounter
from delivery.webhooks.attempt_log import AttemptLog
from delivery.webhooks.claiming import AHEAD, Claimed, claim, claim_manual_retries, find_due, give_back
from delivery.webhooks.recording import EVENT_GONE, AttemptOutcome, Disabled, record_outcomes
from delivery.webhooks.sending import AttemptResult, WebhookSender
from delivery.webhooks.shares import CONCURRENCY, Shares

logger = logging.getLogger(__name__)
# A claim follows another when so many have ended, or after a pause: what becomes due meanwhile waits no longer. Claims
# take at most a tenth of the time, so that each finds more to do the busier PostgreSQL is.
FREED = 50
_PAUSES = 0.02, 0.1
_CLAIM_PAUSE_FACTOR = 10
# Records are made together that come within so short a time, up to so many: each costs two statements.
RECORD_PAUSE_SECONDS = 0.05
# When all that is due must wait for those in flight, or only those are left.
_LONG_PAUSE_SECONDS = 0.25
# Looking through all subscriptions for what is due takes longer the more there are: at most a twentieth of the time.
_LOOK_PAUSE_FACTOR = 20
# Whoever waits longer for a turn at its endpoint gives its place back: it has become slow.
_TURN_SECONDS = 2.0
_MANUAL_RETRIES = 20
# Until PostgreSQL is asked again that was away, and for how long records wait for it. Their leases may end meanwhile,
# but this sender claims nothing before it has recorded them.
_AWAY_SECONDS = 0.5
_RECORD_SECONDS = 120.0


class Sender:
    """Of one event loop. `run` may be called again and again; connections to endpoints are kept between the runs."""

    def __init__(
        self, database: Database, webhooks: WebhookSender, *, rouse: Callable[[], None] = lambda: None
    ) -> None:
        """`rouse` is called when it is time for another run(), as a rate limit lets something be sent."""
        self._database = database
        self._rouse = rouse
        self._next_slots: dict[UUID, asyncio.TimerHandle] = {}
        self._webhooks = webhooks
        self._recorder: Batcher[AttemptOutcome, None] = Batcher(self._record, pause=RECORD_PAUSE_SECONDS, enough=FREED)
        self._log = AttemptLog()
        self._counter = OutcomeCounter()
        self._returner: Batcher[Claimed, None] = Batcher(self._return)
        self._shares = Shares()
        self._turns: dict[UUID, asyncio.Semaphore] = {}
        self._in_flight: set[asyncio.Task[None]] = set()
        self._freed = 0
        self._by_hand = 0
        self._records_wait = False
        self._look_is_wanted = True
        self._look_not_before = 0.0
        self._claim_seconds = 0.0
        self._floors: Floors[UUID] = Floors()
        self._news = asyncio.Event()
        self._is_stopping = False
        self.moved_at = time.monotonic()

    def wake(self, due: Collection[tuple[UUID, UUID]] = ()) -> None:
        """Something may be due: of these organizations and subscriptions, or of any that must be looked for."""
        for organization_id, subscription_id in due:
            self._shares.put_due(organization_id, subscription_id)
        self._look_is_wanted = self._look_is_wanted or not due
        self._news.set()

    def stop(self) -> None:
        """Claim no more: `run` ends when what is in flight has ended."""
        self._is_stopping = True
        self._news.set()

    async def run(self) -> int:
        """Send until nothing is due; returns the number of attempts. `moved_at` tells when it last made a step."""
        sent = 0
        while True:
            self._news.clear()
            claimed = 0
            if not (self._is_stopping or self._records_wait):
                try:
                    claimed = await self._claim()
                except psycopg.Error as error:
                    logger.warning("what is due could not be claimed: %s", type(error).__name__)
                    await asyncio.sleep(_AWAY_SECONDS)
            sent += claimed
            self.moved_at = time.monotonic()
            is_idle = not (self._in_flight or (self._shares.has_due and not self._is_stopping))
            if is_idle and (self._is_stopping or not self._look_is_wanted):
                await self._write_counts()
                return sent
            await self._wait(self._pause() if claimed else _LONG_PAUSE_SECONDS)

    def _pause(self) -> float:
        shortest, longest = _PAUSES
        return min(max(self._claim_seconds * _CLAIM_PAUSE_FACTOR, shortest), longest)

    async def _wait(self, seconds: float) -> None:
        """Until there is news or a moment has passed. The end of an attempt is news when a claim is worth it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    async def _claim(self) -> int:
        number = 0
        now = time.monotonic()
        if self._look_is_wanted and now >= self._look_not_before:
            self._look_is_wanted = False
            number = await self._look()
        self._freed = 0
        if plan := self._shares.plan(now=now):
            wanted = {subscription_id: number for (_, subscription_id), number in plan.items()}
            began = time.monotonic()
            taken = await claim(self._database, wanted, self._floors)
            self._claim_seconds = time.monotonic() - began
            number += self._start(taken, self._deliver)
            counts = Counter(one.subscription_id for one in taken)
            for organization_id, subscription_id in plan:
                if self._floors.is_whole and counts[subscription_id] < wanted[subscription_id]:
                    self._shares.forget_due(organization_id, subscription_id)
        return number

    async def _look(self) -> int:
        """Find out what is due; begin with what somebody wants tried at once, and return how many that are."""
        began = time.monotonic()
        room = _MANUAL_RETRIES - self._by_hand
        wanted = await claim_manual_retries(self._database, room=room) if room > 0 else []
        self._start(wanted, self._deliver_by_hand)
        await go_on(self._database)
        for organization_id, subscription_id, failures in await find_due(self._database):
            self._shares.put_due(organization_id, subscription_id, failures)
        self._look_not_before = began + (time.monotonic() - began) * _LOOK_PAUSE_FACTOR
        return len(wanted)

    def _start(self, claimed: Sequence[Claimed], deliver: Callable[[Claimed, float], Coroutine[Any, Any, None]]) -> int:
        now = time.monotonic()
        for one in claimed:
            if one.next_slot_at is not None:
                self._claim_again_at(one, one.next_slot_at)
            task = asyncio.create_task(deliver(one, now))
            self._in_flight.add(task)
            task.add_done_callback(self._end)
        return len(claimed)

    def _claim_again_at(self, claimed: Claimed, next_slot_at: datetime) -> None:
        """Whoever has claimed by a rate limit claims again when that has another slot; nobody else looks out for it."""

        def claim_again() -> None:
            del self._next_slots[key]
            self.wake([(claimed.organization_id, key)])
            self._rouse()

        key = claimed.subscription_id
        if (earlier := self._next_slots.get(key)) is not None:
            earlier.cancel()
        seconds = (next_slot_at - AHEAD - claimed.claimed_at).total_seconds()
        self._next_slots[key] = asyncio.get_running_loop().call_later(max(0.0, seconds), claim_again)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._freed += 1
        if self._freed >= FREED or not self._in_flight:
            self._news.set()
        if not task.cancelled() and (error := task.exception()):
            # Its lease ends, and it comes again.
            logger.error("a delivery was not recorded: %s", type(error).__name__, exc_info=error)

    async def _deliver_by_hand(self, claimed: Claimed, taken_at: float) -> None:
        self._by_hand += 1
        try:
            await self._deliver(claimed, taken_at)
        finally:
            self._by_hand -= 1
        # If it has closed the circuit, the others need not wait to be looked for.
        self.wake([(claimed.organization_id, claimed.subscription_id)])

    async def _deliver(self, claimed: Claimed, taken_at: float) -> None:
        owner, key = claimed.organization_id, claimed.subscription_id
        size = len(claimed.data or "")
        place = self._shares.hold(organization_id=owner, subscription_id=key, size=size, now=taken_at)
        turn = self._turns.setdefault(key, asyncio.Semaphore(claimed.max_in_flight or CONCURRENCY))
        try:
            if claimed.send_at is not None:
                await asyncio.sleep((claimed.send_at - claimed.claimed_at).total_seconds())
            if not await _in_time(turn):
                await self._returner.ask(claimed)
                return
            try:
                outcome = await self._attempt(claimed, taken_at)
            finally:
                turn.release()
            if outcome.result is not None:
                seconds, delivered = outcome.result.duration_ms / 1000, outcome.result.delivered
                if self._shares.note(owner, key, seconds=seconds, delivered=delivered, most=claimed.max_in_flight):
                    self._news.set()
            await self._recorder.ask(outcome)
            if claimed.max_in_flight is not None:
                # Its place is free for another one, which other senders do not know.
                self.wake([(owner, key)])
        finally:
            self._shares.give_back(place)
            if not self._shares.holds(key):
                self._turns.pop(key, None)

    async def _attempt(self, claimed: Claimed, taken_at: float) -> AttemptOutcome:
        # By the database's clock, as a receiver refuses a signature of long ago.
        now = claimed.claimed_at + timedelta(seconds=time.monotonic() - taken_at)
        if claimed.type is None or claimed.received_at is None or claimed.data is None:
            return AttemptOutcome(claimed=claimed, started_at=now, result=None)
        context = read_context(claimed.traceparent, claimed.tracestate)
        with sending_span("send webhook", parent=context, attributes=lambda: _attributes(claimed)) as span:
            result = await RULES[claimed.kind].send(
                claimed, now=now, context=span.context if span else context, webhooks=self._webhooks
            )
            if span:
                _note_result(span, result)
        return AttemptOutcome(claimed=claimed, started_at=now, result=result)

    async def _record(self, outcomes: Sequence[AttemptOutcome]) -> list[None]:
        try:
            dead, disabled = await self._recorded(outcomes)
        finally:
            self._records_wait = False
        self._log.note(outcomes)
        if any(outcome.claimed.sequence is not None for outcome in outcomes):
            await self._go_on()
        self._counter.note(outcomes)
        if self._counter.is_due:
            await self._write_counts()
        if dead or disabled:
            failed = {one.claimed.subscription_id: one for one in outcomes if one.result and one.result.error}
            await asyncio.to_thread(_announce, dead, [(one, failed.get(one.subscription_id)) for one in disabled])
        return [None] * len(outcomes)

    async def _go_on(self) -> None:
        """What waited for deliveries that are recorded may be due now."""
        try:
            if due := await go_on(self._database):
                self.wake(due)
        except psycopg.Error as error:
            logger.warning("queues of keys go on later: %s", type(error).__name__)
            self._look_is_wanted = True

    async def _write_counts(self) -> None:
        try:
            await self._counter.write(self._database)
        except psycopg.Error as error:
            logger.warning("counts of attempts were not written: %s", type(error).__name__)

    async def _recorded(self, outcomes: Sequence[AttemptOutcome]) -> tuple[list[AttemptOutcome], list[Disabled]]:
        """What was sent must not be sent again for a while without PostgreSQL: the record waits for it."""
        give_up_at = time.monotonic() + _RECORD_SECONDS
        while True:
            try:
                return await record_outcomes(self._database, outcomes)
            except psycopg.Error as error:
                if time.monotonic() > give_up_at or not is_passing(error):
                    raise
                logger.warning("%d attempts wait for their record: %s", len(outcomes), type(error).__name__)
            self._records_wait = True
            await asyncio.sleep(_AWAY_SECONDS)

    async def _return(self, claimed: Sequence[Claimed]) -> list[None]:
        await give_back(self._database, claimed)
        for one in claimed:
            self._shares.put_due(one.organization_id, one.subscription_id)
        return [None] * len(claimed)


async def _in_time(turn: asyncio.Semaphore) -> bool:
    """Whether it was acquired."""
    if not turn.locked():
        return await turn.acquire()
    try:
        async with asyncio.timeout(_TURN_SECONDS):
            return await turn.acquire()
    except TimeoutError:
        return False


def _attributes(claimed: Claimed) -> dict[str, Value]:
    """Of the endpoint only the host: paths may hold secrets."""
    return {
        "http.request.method": "POST",
        "http.request.resend_count": claimed.attempts,
        "server.address": urlsplit(claimed.url).hostname or "",
        "organization.id": str(claimed.organization_id),
        "subscription.id": str(claimed.subscription_id),
        "delivery.id": str(claimed.id),
        "event.id": str(claimed.event_id),
        "event.type": claimed.type or "",
    }


def _note_result(span: Span, result: AttemptResult) -> None:
    if result.status is not None:
        span.note("http.response.status_code", result.status)
    if result.error is not None:
        span.fail(result.error.value)


def _announce(dead: Sequence[AttemptOutcome], disabled: Sequence[tuple[Disabled, AttemptOutcome | None]]) -> None:
    """Tell the organizations. In a thread, as it uses Django's connection; what fails here is only not told."""
    now = timezone.now()
    try:
        with transaction.atomic():
            for outcome in dead:
                tell_dead_letter(_dead_letter(outcome), now=now)
            for one, failed in disabled:
                tell_disabled_webhook(_disabled_webhook(one, failed), now=now)
    except Exception:
        logger.exception("notices of %d dead letters were not stored", len(dead))
    finally:
        connections.close_all()


def _dead_letter(outcome: AttemptOutcome) -> DeadLetter:
    claimed = outcome.claimed
    error = outcome.result.error if outcome.result else None
    return DeadLetter(
        organization_id=claimed.organization_id,
        delivery_id=claimed.id,
        subscription_id=claimed.subscription_id,
        event_id=claimed.event_id,
        event_type=claimed.type,
        attempts=claimed.number - (outcome.result is None),
        last_error=error.value if error else EVENT_GONE,
        error_detail=outcome.result.detail if outcome.result else "Its event was gone before it could be sent.",
    )


def _disabled_webhook(disabled: Disabled, failed: AttemptOutcome | None) -> DisabledWebhook:
    result = failed and failed.result
    return DisabledWebhook(
        organization_id=disabled.organization_id,
        subscription_id=disabled.subscription_id,
        url=disabled.url,
        reason=disabled.reason,
        last_error=result.error.value if result and result.error else "",
        error_detail=result.detail if result else "",
    )
