"""Retries of dead letters, as the jobs that they are, and what the runner of all jobs promises."""

from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.utils import timezone
from uuid_utils.compat import uuid7

from core.ports import SyncDatabase, run_now
from core.times import format_time
from delivery.attempt_errors import AttemptError
from delivery.models import DeadLetterRetry, Delivery, DeliveryStatus, RetryOutcomes, Subscription
from delivery.operations import dead_letters, lease_events, run_dead_letter_retries
from delivery.webhooks.claiming import Claimed, claim
from delivery.webhooks.recording import AttemptOutcome, record_outcomes
from delivery.webhooks.sending import AttemptResult
from organizations.jobs import running
from organizations.models import AuditEntry
from tests.conftest import Tenant, make_tenant
from tests.factories import START, inbox_of, make_dead_letters, make_delivery, make_events, make_webhook
from tests.support.people.console_data import make_retry


@pytest.fixture
def webhook(tenant: Tenant) -> Subscription:
    return make_webhook(tenant.organization)


def start(tenant: Tenant, subscription: Subscription, **wanted: Any) -> Any:
    return tenant.post(f"/api/v1/subscriptions/{subscription.pk}/dead-letters/retry", wanted or None)


def shown(tenant: Tenant, job_id: object) -> dict[str, Any]:
    found: dict[str, Any] = tenant.get(f"/api/v1/jobs/{job_id}").json()
    return found


def due(subscription: Subscription) -> int:
    return Delivery.objects.filter(subscription=subscription, status=DeliveryStatus.PENDING).count()


def end(claimed: list[Claimed], error: AttemptError | None) -> None:
    """Their attempts are over."""
    result = AttemptResult(
        error=error,
        status=None if error else 200,
        detail="",
        duration_ms=1,
        response_text="",
        response_truncated=False,
        retry_after=None,
        remote_address=None,
    )
    outcomes = [AttemptOutcome(claimed=one, started_at=timezone.now(), result=result) for one in claimed]
    run_now(record_outcomes(SyncDatabase(), outcomes))


def test_it_works(tenant: Tenant, webhook: Subscription) -> None:
    make_dead_letters(webhook, 3)
    started = start(tenant, webhook)
    assert started.status_code == 202
    job = started.json()
    assert job == {
        "id": job["id"],
        "kind": "dead_letter_retry",
        "subscription": str(webhook.pk),
        "status": "running",
        "total": 3,
        "done": 0,
        "delivered": 0,
        "failed_again": 0,
        "started_at": job["started_at"],
        "finished_at": None,
        "failure": None,
    }
    run_dead_letter_retries()
    done = shown(tenant, job["id"])
    assert (done["status"], done["total"], done["done"]) == ("done", 3, 3)
    assert due(webhook) == 3
    entry = AuditEntry.objects.get(action="subscription.dead_letters_retried")
    assert (entry.target_id, entry.changes) == (str(webhook.pk), {"total": 3})


def test_what_became_of_them_is_counted_once(tenant: Tenant, webhook: Subscription) -> None:
    make_dead_letters(webhook, 5)
    job_id = start(tenant, webhook).json()["id"]
    run_dead_letter_retries()
    # The test is one transaction, and senders compare with its start.
    Delivery.objects.update(next_attempt_at=timezone.now() - timedelta(days=1))
    end(run_now(claim(SyncDatabase(), {webhook.pk: 2})), None)
    end(run_now(claim(SyncDatabase(), {webhook.pk: 1})), AttemptError.TIMEOUT)
    found = shown(tenant, job_id)
    assert (found["delivered"], found["failed_again"]) == (2, 1)
    Delivery.objects.filter(status=DeliveryStatus.RETRYING).update(next_attempt_at=timezone.now() - timedelta(days=2))
    end(run_now(claim(SyncDatabase(), {webhook.pk: 1})), None)
    found = shown(tenant, job_id)
    assert (found["delivered"], found["failed_again"]) == (2, 1), "the attempt after the next is nobody's"


def test_deliveries_of_nobody_are_not_counted(tenant: Tenant, webhook: Subscription) -> None:
    job_id = start(tenant, webhook).json()["id"]
    for event in make_events(tenant.organization, 2):
        make_delivery(event, webhook, DeliveryStatus.PENDING, next_attempt_at=timezone.now())
    end(run_now(claim(SyncDatabase(), {webhook.pk: 2})), None)
    assert (shown(tenant, job_id)["delivered"], shown(tenant, job_id)["failed_again"]) == (0, 0)


def test_in_an_inbox_what_is_acknowledged_was_delivered(tenant: Tenant) -> None:
    inbox = Subscription.objects.get(pk=inbox_of(tenant.organization))
    letters = make_dead_letters(inbox, 3)
    job_id = start(tenant, inbox).json()["id"]
    run_dead_letter_retries()
    for _ in range(2):
        tenant.post("/api/v1/inbox/ack", {"event_ids": [str(letters[0].event_id)]})
    inbox.max_leases = 0
    lease_events(inbox=inbox, limit=1, duration=timedelta(seconds=1), now=timezone.now())
    assert shown(tenant, job_id)["delivered"] == 1
    assert shown(tenant, job_id)["failed_again"] >= 1


def test_filters_choose_among_them(tenant: Tenant, webhook: Subscription) -> None:
    for name, error, at in (("a.x", "timeout", START), ("a.y", "http_500", START), ("b", "timeout", START),
                            ("a.x", "timeout", START + timedelta(hours=2))):  # fmt: skip
        (event,) = make_events(tenant.organization, 1, at, type=name)
        make_delivery(event, webhook, DeliveryStatus.DEAD_LETTER, last_error=error)
    end_of_window = format_time(START + timedelta(hours=1))
    for wanted, total in (({"event_types": ["a.*"]}, 3), ({"error": "timeout"}, 3),
                          ({"received_before": end_of_window}, 3), ({"received_after": end_of_window}, 1),
                          ({"event_types": ["a.*"], "error": "timeout", "received_before": end_of_window}, 1),
                          ({}, 4)):  # fmt: skip
        counted = start(tenant, webhook, dry_run=True, **wanted).json()
        assert (counted["total"], counted["id"], counted["status"]) == (total, None, None)
    start(tenant, webhook, event_types=["a.*"], error="timeout", received_before=end_of_window)
    run_dead_letter_retries()
    assert due(webhook) == 1


@pytest.mark.parametrize("wanted", [{"event_types": []}, {"error": 1}, {"received_after": "x"}, {"colour": 1}])
def test_nonsense_is_refused(tenant: Tenant, webhook: Subscription, wanted: dict[str, Any]) -> None:
    assert start(tenant, webhook, **wanted).status_code == 422
    assert not DeadLetterRetry.objects.exists()


def test_a_portion_that_is_killed_is_done_again(
    tenant: Tenant, webhook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "DELIVERIES_PER_BATCH", 2)
    make_dead_letters(webhook, 5)
    retry = make_retry(webhook)
    running.run_portion(dead_letters.DEAD_LETTER_RETRIES, retry.pk, timezone.now())

    class KilledError(BaseException):
        pass

    make_due = dead_letters._make_due

    def die(*args: Any) -> int:
        make_due(*args)
        raise KilledError

    with mock.patch.object(dead_letters, "_make_due", die), pytest.raises(KilledError):
        run_dead_letter_retries()
    assert due(webhook) == 2
    run_dead_letter_retries()
    retry.refresh_from_db()
    assert (retry.status, retry.done, retry.total, due(webhook)) == ("done", 5, 5, 5)


def test_a_portion_that_always_fails_is_given_up(tenant: Tenant, webhook: Subscription) -> None:
    make_dead_letters(webhook, 1)
    job_id = start(tenant, webhook).json()["id"]
    with mock.patch.object(dead_letters, "_make_due", side_effect=ValueError("secret")):
        for _ in range(running.MAX_FAILURES):
            run_dead_letter_retries()
    found = shown(tenant, job_id)
    assert (found["status"], found["failure"]) == ("failed", "A batch could not be made (ValueError).")
    assert due(webhook) == 0


def test_organizations_take_turns_whatever_they_have(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    monkeypatch.setattr(dead_letters, "DELIVERIES_PER_BATCH", 1)
    many, few = make_webhook(make_tenant().organization), make_webhook(make_tenant().organization)
    make_dead_letters(many, 6)
    make_dead_letters(few, 2)
    retries = [make_retry(many), make_retry(many), make_retry(few)]
    steps = mock.Mock(side_effect=running.run_portion)
    monkeypatch.setattr(running, "run_portion", steps)
    run_dead_letter_retries()
    order = [call.args[1] for call in steps.call_args_list]
    assert order[:4] == [retries[0].pk, retries[2].pk, retries[1].pk, retries[2].pk]
    assert due(many) + due(few) == 8


def test_a_cancelled_job_stops(tenant: Tenant, webhook: Subscription, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "DELIVERIES_PER_BATCH", 2)
    make_dead_letters(webhook, 5)
    retry = make_retry(webhook)
    running.run_portion(dead_letters.DEAD_LETTER_RETRIES, retry.pk, timezone.now())
    cancelled = tenant.post(f"/api/v1/jobs/{retry.pk}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"], cancelled.json()["done"]) == (200, "cancelled", 2)
    assert run_dead_letter_retries() == 0
    assert tenant.post(f"/api/v1/jobs/{retry.pk}/cancel").json() == cancelled.json()
    assert AuditEntry.objects.filter(action="dead_letter_retry.cancelled").count() == 1
    assert due(webhook) == 2


def test_retries_of_a_suspended_organization_wait(tenant: Tenant, webhook: Subscription) -> None:
    make_dead_letters(webhook, 1)
    make_retry(webhook)
    tenant.organization.suspended_at = timezone.now()
    tenant.organization.save()
    assert run_dead_letter_retries() == 0
    assert due(webhook) == 0


def test_replays_are_jobs_too(tenant: Tenant, webhook: Subscription) -> None:
    window = {"received_after": format_time(START), "received_before": format_time(START + timedelta(hours=1))}
    replay = tenant.post("/api/v1/replays", {"subscription": str(webhook.pk), **window}).json()
    job = shown(tenant, replay["id"])
    assert (job["kind"], job["status"], job["delivered"]) == ("replay", "running", None)
    assert tenant.post(f"/api/v1/jobs/{replay['id']}/cancel").json()["status"] == "cancelled"
    assert tenant.get(f"/api/v1/jobs/{uuid7()}").status_code == 404


def test_another_tenants_jobs_are_not_found(tenant: Tenant, other_tenant: Tenant, webhook: Subscription) -> None:
    job_id = start(tenant, webhook).json()["id"]
    assert start(other_tenant, webhook).status_code == 404
    assert other_tenant.get(f"/api/v1/jobs/{job_id}").status_code == 404
    assert other_tenant.post(f"/api/v1/jobs/{job_id}/cancel").status_code == 404
    assert RetryOutcomes.objects.count() == 1
