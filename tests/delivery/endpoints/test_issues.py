"""Failures are grouped by endpoint and error; issues resolve by themselves, and open again."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone
from uuid_utils.compat import uuid7

from core.ports import SyncDatabase, run_now
from delivery.attempt_errors import AttemptError
from delivery.issues.operations import annotate_issue, old_issues
from delivery.models import Issue, Subscription
from delivery.operations.holding import close_circuit
from delivery.webhooks.claiming import Claimed, claim
from delivery.webhooks.recording import AttemptOutcome, record_outcomes
from delivery.webhooks.sending import AttemptResult
from organizations.models import AuditEntry, Organization
from tests.factories import TESTER, make_organization
from tests.support.events.delivering import accept, webhook

# Claiming goes by the clock of PostgreSQL, which stands still within a transaction.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def organization() -> Organization:
    return make_organization()


@pytest.fixture
def subscription(organization: Organization) -> Subscription:
    return webhook(organization, "https://example.com/hooks")


def claim_all(organization: Organization, subscription: Subscription, count: int) -> list[Claimed]:
    accept(organization, count)
    return list(run_now(claim(SyncDatabase(), {subscription.pk: count})))


def ended(claimed: Claimed, started_at: datetime, error: AttemptError | None, status: int | None) -> AttemptOutcome:
    result = AttemptResult(
        error=error,
        status=status,
        detail="",
        duration_ms=1,
        response_text="",
        response_truncated=False,
        retry_after=None,
        remote_address=None,
    )
    return AttemptOutcome(claimed=claimed, started_at=started_at, result=result, id=uuid7())


def record(*outcomes: AttemptOutcome) -> None:
    run_now(record_outcomes(SyncDatabase(), outcomes))


def shown() -> list[tuple[str, int, bool, int]]:
    rows = Issue.objects.order_by("error", "status_code")
    return [(str(row), row.count, row.resolved_at is None, row.reopened) for row in rows]


def test_failures_of_one_kind_are_one_issue_until_the_endpoint_delivers_again(
    organization: Organization, subscription: Subscription
) -> None:
    one, two, three, four, five, six = claim_all(organization, subscription, 6)
    now = timezone.now()
    after = [now + timedelta(seconds=seconds) for seconds in range(10)]
    record(
        ended(one, after[0], AttemptError.HTTP_ERROR, 500),
        ended(two, after[1], AttemptError.HTTP_ERROR, 500),
        ended(three, after[1], AttemptError.HTTP_ERROR, 404),
        ended(four, after[0], AttemptError.TIMEOUT, None),
    )
    assert shown() == [("http_error 404", 1, True, 0), ("http_error 500", 2, True, 0), ("timeout", 1, True, 0)]
    issue = Issue.objects.get(status_code=500)
    assert (issue.first_seen_at, issue.last_seen_at) == (after[0], after[1])
    assert (issue.last_delivery_id, issue.organization_id) == (two.id, organization.pk)
    # Sent before the last failure: it says nothing about now.
    record(ended(five, after[0], None, 200))
    assert [each[2] for each in shown()] == [True, True, True]
    record(ended(five, after[5], None, 200))
    assert [each[2] for each in shown()] == [False, False, False]
    # It began before that success, and ended late.
    record(ended(six, after[4], AttemptError.TIMEOUT, None))
    assert shown()[2] == ("timeout", 2, False, 0)
    record(ended(six, after[6], AttemptError.TIMEOUT, None))
    assert shown()[2] == ("timeout", 3, True, 1)
    assert Issue.objects.get(error="timeout").opened_at == after[6]
    assert Issue.objects.get(error="timeout").first_seen_at == after[0]


def test_a_success_and_an_earlier_failure_in_one_batch_leave_nothing_open(
    organization: Organization, subscription: Subscription
) -> None:
    one, two = claim_all(organization, subscription, 2)
    now = timezone.now()
    record(ended(one, now, AttemptError.TLS, None), ended(two, now + timedelta(seconds=1), None, 200))
    assert shown() == [("tls", 1, False, 0)]


def test_another_endpoint_that_delivers_resolves_nothing(
    organization: Organization, subscription: Subscription
) -> None:
    other = webhook(organization, "https://example.org/hooks")
    accept(organization, 1)
    one, two = run_now(claim(SyncDatabase(), {subscription.pk: 1, other.pk: 1}))
    now = timezone.now()
    record(ended(one, now, AttemptError.DNS, None), ended(two, now + timedelta(seconds=1), None, 200))
    assert shown() == [("dns", 1, True, 0)]


def test_a_test_that_succeeds_resolves_them(organization: Organization, subscription: Subscription) -> None:
    (one,) = claim_all(organization, subscription, 1)
    record(ended(one, timezone.now(), AttemptError.DNS, None))
    close_circuit(subscription)
    assert shown() == [("dns", 1, False, 0)]


def test_a_note_and_a_mute_stay_and_are_in_the_audit_log(
    organization: Organization, subscription: Subscription
) -> None:
    one, two = claim_all(organization, subscription, 2)
    now = timezone.now()
    record(ended(one, now, AttemptError.DNS, None))
    issue, until = Issue.objects.get(), now + timedelta(days=1)
    annotate_issue(issue=issue, organization=organization, note="theirs", muted_until=until, actor=TESTER)
    entry = AuditEntry.objects.get(action="issue.annotated")
    assert entry.changes["note"] == ["", "theirs"]
    assert not Issue.objects.for_organization(organization.pk).open(now).exists()
    assert Issue.objects.for_organization(organization.pk).muted(now).exists()
    record(ended(two, now + timedelta(seconds=1), AttemptError.DNS, None))
    issue.refresh_from_db()
    assert (issue.note, issue.muted_until, issue.count) == ("theirs", until, 2)
    assert Issue.objects.for_organization(organization.pk).open(until).exists()
    annotate_issue(issue=issue, organization=organization, note="theirs", muted_until=until, actor=TESTER)
    assert AuditEntry.objects.filter(action="issue.annotated").count() == 1
    assert old_issues(before=now).count() == 0
    assert old_issues(before=until).count() == 1
