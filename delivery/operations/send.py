"""Send what is due: claim, send concurrently, record in bulk, until nothing is left or the time is up."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.db import connections, transaction
from django.utils import timezone

from delivery.operations.claiming import Claimed, Claimer, lease_seconds
from delivery.operations.notices import NoticeKind, announce, announce_dead_letter
from delivery.operations.recording import EVENT_GONE, Disabled, Outcome, record_outcomes
from delivery.sealed_headers import open_value
from delivery.secrets import decrypt_secret
from delivery.sending import AttemptResult, WebhookSender
from delivery.signing import secret_key
from delivery.webhook_requests import build_request
from rest.gathering import Gatherer
from rest.ports import Database
from rest.tracing import Span, Value, read_context, sending_span

logger = logging.getLogger(__name__)
# Deliveries that one sender holds at once. Each may have 256 KiB of data.
ROOM = 400
# Requests at once to one endpoint: enough for 2 000 a second at 10 ms, too few to hurt it.
CONCURRENCY = 20
# A claim follows another when so many have ended, or after this pause: what becomes due meanwhile waits no longer.
FREED = 50
PAUSE_SECONDS = 0.02


class Sender:
    """Of one event loop. `run` may be called again and again; connections to endpoints are kept between the runs."""

    def __init__(self, database: Database, webhooks: WebhookSender) -> None:
        self._claimer = Claimer(database)
        self._webhooks = webhooks
        self._recorder: Gatherer[Outcome, None] = Gatherer(self._record)
        self._database = database
        self._held: Counter[UUID] = Counter()
        self._turns: dict[UUID, asyncio.Semaphore] = {}

    async def run(self, *, seconds: float) -> int:
        """Send until nothing is due, claiming for at most `seconds`; returns the number of attempts."""
        deadline = time.monotonic() + seconds
        in_flight: set[asyncio.Task[None]] = set()
        sent = 0
        while True:
            claimed = await self._claim() if time.monotonic() < deadline else []
            in_flight |= {asyncio.create_task(self._deliver(one, time.monotonic())) for one in claimed}
            sent += len(claimed)
            if not in_flight:
                return sent
            in_flight = await self._free_some(in_flight)

    async def _free_some(self, in_flight: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
        """Wait until enough have ended for the next claim to be worth its statement, or a moment has passed."""
        until, goal = time.monotonic() + PAUSE_SECONDS, len(in_flight) - FREED
        while in_flight and len(in_flight) > goal and (left := until - time.monotonic()) > 0:
            done, in_flight = await asyncio.wait(in_flight, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        return in_flight

    async def _claim(self) -> list[Claimed]:
        room = ROOM - self._held.total()
        if room < CONCURRENCY:  # a claim of a few costs as much as one of many
            return []
        claimed = await self._claimer.claim(busy=self._held, room=room, now=timezone.now())
        self._held.update(one.subscription_id for one in claimed)
        return claimed

    async def _deliver(self, claimed: Claimed, claimed_at: float) -> None:
        key = claimed.subscription_id
        turn = self._turns.setdefault(key, asyncio.Semaphore(CONCURRENCY))
        try:
            async with turn:
                # Whoever waited too long for a turn would send while another may have claimed it: it comes again.
                if time.monotonic() - claimed_at < lease_seconds() - settings.WEBHOOK_TIMEOUT_SECONDS - 5:
                    outcome = await self._attempt(claimed)
                else:
                    return
            await self._recorder.ask(outcome)
        finally:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key], self._turns[key]

    async def _attempt(self, claimed: Claimed) -> Outcome:
        now = timezone.now()
        if claimed.type is None or claimed.received_at is None or claimed.data is None:
            return Outcome(claimed=claimed, started_at=now, result=None)
        context = read_context(claimed.traceparent, claimed.tracestate)
        with sending_span("send webhook", parent=context, attributes=lambda: _attributes(claimed)) as span:
            request = build_request(
                url=claimed.url,
                secrets=[_key(token) for token in (claimed.secret, claimed.previous_secret) if token],
                headers={name: _header(stored) for name, stored in claimed.headers.items()},
                event_id=claimed.event_id,
                event_type=claimed.type,
                received_at=claimed.received_at,
                data=claimed.data,
                now=now,
                context=span.context if span else context,
            )
            result = await self._webhooks.send(request)
            if span:
                _note_result(span, result)
        return Outcome(claimed=claimed, started_at=now, result=result)

    async def _record(self, outcomes: Sequence[Outcome]) -> list[None]:
        dead, disabled = await record_outcomes(self._database, outcomes, now=timezone.now())
        if dead or disabled:
            await asyncio.to_thread(_announce, dead, disabled)
        return [None] * len(outcomes)


@lru_cache(maxsize=10_000)
def _key(token: str) -> bytes:
    return secret_key(decrypt_secret(token))


# A value has up to 4 KiB: at most some 20 MB.
_header = lru_cache(maxsize=2_000)(open_value)


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


def _announce(dead: Sequence[Outcome], disabled: Sequence[Disabled]) -> None:
    """Tell the organizations. In a thread, as it uses Django's connection; what fails here is only not told."""
    now = timezone.now()
    try:
        with transaction.atomic():
            for outcome in dead:
                _announce_dead_letter(outcome, now)
            for one in disabled:
                _announce_disabled(one, now)
    except Exception:
        logger.exception("notices of %d dead letters were not stored", len(dead))
    finally:
        connections.close_all()


def _announce_dead_letter(outcome: Outcome, now: datetime) -> None:
    claimed = outcome.claimed
    error = outcome.result.error if outcome.result else None
    announce_dead_letter(
        organization_id=claimed.organization_id,
        delivery_id=claimed.id,
        subscription_id=claimed.subscription_id,
        event_id=claimed.event_id,
        event_type=claimed.type,
        attempts=claimed.attempts + (outcome.result is not None),
        last_error=error.value if error else EVENT_GONE,
        now=now,
    )


def _announce_disabled(disabled: Disabled, now: datetime) -> None:
    announce(
        organization_id=disabled.organization_id,
        kind=NoticeKind.SUBSCRIPTION_DISABLED,
        subject=str(disabled.subscription_id),
        data={
            "subscription_id": str(disabled.subscription_id),
            "url": disabled.url,
            "reason": disabled.reason,
        },
        now=now,
    )
