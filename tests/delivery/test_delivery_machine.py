"""The life of deliveries against a model: whatever happens in whatever order, the rows say what they should."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings as django_settings
from django.db.models import F
from django.utils import timezone
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from core.ports import SyncDatabase, run_now
from delivery.api.attempts import attempts_of
from delivery.attempt_errors import AttemptError
from delivery.models import Delivery, Subscription, SubscriptionKind, SubscriptionStatus
from delivery.operations import pause_subscription, resume_subscription, retry_dead_letters
from delivery.webhooks.claiming import MARGIN, Claimed, claim
from delivery.webhooks.recording import AttemptOutcome, record_outcomes
from delivery.webhooks.sending import AttemptResult
from ingestion.formats.decoding import DecodedEvent
from ingestion.intake.storing import Incoming, store
from ingestion.operations import process_outbox
from tests.factories import TESTER, make_organization

pytestmark = pytest.mark.slow

EVENT = DecodedEvent(type="t", data="1", source=None, subject=None, time=None, idempotency_key=None)
WAITS = [5, 300]
RESULTS = {
    "success": (None, 200, None),
    "failure": (AttemptError.HTTP_ERROR, 500, None),
    "timeout": (AttemptError.TIMEOUT, None, None),
    "busy": (AttemptError.HTTP_ERROR, 429, timedelta(seconds=1_000)),
    "gone": (AttemptError.HTTP_ERROR, 410, None),
}


@dataclass
class Modelled:
    """What a delivery must be like. `holder`: the claim whose lease it is in."""

    status: str = "pending"
    attempts: int = 0
    made: int = 0
    earliest: datetime | None = None
    holder: Claimed | None = None
    held_until: datetime | None = None


class DeliveryMachine(RuleBasedStateMachine):
    """One webhook of one organization. Time passes by moving everything that has a time into the past."""

    def __init__(self) -> None:
        super().__init__()
        Delivery.objects.all().delete()
        Subscription.objects.all().delete()
        self.organization = make_organization()
        self.subscription = Subscription.objects.create(
            organization=self.organization,
            kind=SubscriptionKind.WEBHOOK,
            url="https://example.com/",
            headers={},
            status="active",
        )
        self.model: dict[UUID, Modelled] = {}
        self.claims: list[Claimed] = []

    @rule(count=st.integers(1, 3))
    def accept(self, count: int) -> None:
        incoming = [Incoming(self.organization.pk, EVENT) for _ in range(count)]
        run_now(store(SyncDatabase(), incoming))
        process_outbox()
        rows = Delivery.objects.filter(subscription=self.subscription, event_id__in=[one.id for one in incoming])
        assert rows.count() == count
        self.model |= {row.pk: Modelled(earliest=row.next_attempt_at) for row in rows}

    @rule(seconds=st.sampled_from([1, 6, 50, 400, 1_300]))
    def let_time_pass(self, seconds: int) -> None:
        passed = timedelta(seconds=seconds)
        Delivery.objects.update(next_attempt_at=F("next_attempt_at") - passed)
        Subscription.objects.update(
            circuit_open_until=F("circuit_open_until") - passed, circuit_probe_at=F("circuit_probe_at") - passed
        )
        for modelled in self.model.values():
            modelled.earliest = modelled.earliest and modelled.earliest - passed
            modelled.held_until = modelled.held_until and modelled.held_until - passed

    @rule(room=st.integers(1, 5))
    def claim(self, room: int) -> None:
        self.subscription.refresh_from_db()
        claimed = run_now(claim(SyncDatabase(), {self.subscription.pk: room}))
        now = timezone.now()
        probed_from = self.subscription.circuit_probe_at
        if self.subscription.status != SubscriptionStatus.ACTIVE or (probed_from and probed_from > now):
            assert claimed == []
        assert len(claimed) <= room
        for one in claimed:
            modelled = self.model[one.id]
            assert modelled.status in {"pending", "retrying"}
            assert modelled.earliest is not None
            assert modelled.earliest <= now
            assert modelled.held_until is None or modelled.held_until <= now
            lease = timedelta(seconds=django_settings.WEBHOOK_TIMEOUT_SECONDS) + MARGIN
            modelled.holder, modelled.held_until = one, now + lease
        self.claims += claimed

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), name=st.sampled_from(sorted(RESULTS)))
    def finish(self, data: Any, name: str) -> None:
        """An attempt ends, perhaps long after its lease."""
        claimed = self.claims.pop(data.draw(st.integers(0, len(self.claims) - 1)))
        outcome = self._outcome(claimed, name)
        run_now(record_outcomes(SyncDatabase(), [outcome]))
        modelled = self.model[claimed.id]
        modelled.made += 1
        if modelled.holder is not claimed:
            return  # another took it meanwhile: what happened to it is the other's to say
        modelled.holder = modelled.held_until = None
        modelled.attempts += 1
        if name == "success":
            modelled.status, modelled.earliest = "delivered", None
        elif claimed.attempts >= len(WAITS):
            modelled.status, modelled.earliest = "dead_letter", None
        else:
            wait = max(WAITS[claimed.attempts], 1_000 if name == "busy" else 0)
            modelled.status, modelled.earliest = "retrying", outcome.ended_at + timedelta(seconds=wait)

    @rule()
    def pause(self) -> None:
        self.subscription.refresh_from_db()
        if self.subscription.status != SubscriptionStatus.DISABLED:
            pause_subscription(subscription=self.subscription, actor=TESTER)

    @rule()
    def resume(self) -> None:
        self.subscription.refresh_from_db()
        was_well = self.subscription.status == SubscriptionStatus.ACTIVE and not self.subscription.circuit_open_until
        resume_subscription(subscription=self.subscription, actor=TESTER)
        for modelled in self.model.values():
            if not was_well and modelled.status == "retrying" and modelled.holder is None:
                modelled.earliest = min(modelled.earliest or timezone.now(), timezone.now())

    @rule()
    def retry(self) -> None:
        dead = [modelled for modelled in self.model.values() if modelled.status == "dead_letter"]
        done = retry_dead_letters(subscription=self.subscription, actor=TESTER)
        assert done.retried == len(dead)
        for modelled in dead:
            modelled.status, modelled.attempts, modelled.earliest = "pending", 0, timezone.now()

    @invariant()
    def rows_say_what_the_model_says(self) -> None:
        rows = {row.pk: row for row in Delivery.objects.filter(subscription=self.subscription)}
        assert rows.keys() == self.model.keys()
        for pk, modelled in self.model.items():
            row = rows[pk]
            assert (row.status, row.attempts) == (modelled.status, modelled.attempts)
            assert (row.delivered_at is not None) == (modelled.status == "delivered")
            assert (row.next_attempt_at is None) == (modelled.status in {"delivered", "dead_letter"})
            assert (row.lease_id is None) == (modelled.holder is None)
            assert len(attempts_of(row)) == modelled.made

    def _outcome(self, claimed: Claimed, name: str) -> AttemptOutcome:
        error, status, retry_after = RESULTS[name]
        result = AttemptResult(
            error=error,
            status=status,
            detail=name,
            duration_ms=1,
            response_text="",
            response_truncated=False,
            retry_after=retry_after,
            remote_address=None,
        )
        return AttemptOutcome(claimed=claimed, started_at=timezone.now(), result=result)


def test_deliveries_live_as_the_model_says(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(django_settings, "WEBHOOK_RETRY_SCHEDULE", WAITS)
    bounded = settings(max_examples=20, stateful_step_count=30, deadline=None, derandomize=True, database=None)
    run_state_machine_as_test(DeliveryMachine, settings=bounded)
