"""Counts of the intake by the minute become counts by the hour."""

from datetime import UTC, datetime, timedelta

import pytest

from events_platform.settings import CELERY_BEAT_SCHEDULE
from ingestion import tasks
from ingestion.models import IntakeCount
from ingestion.operations import roll_up_intake_counts
from ingestion.operations.roll_up import MINUTES_KEPT
from organizations.models import Organization
from tests.factories import make_organization

NOW = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)
OLD = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def organization(db: None) -> Organization:
    return make_organization()


def test_old_minutes_become_hours_and_sums_stay(organization: Organization) -> None:
    other = make_organization()
    for minute in (0, 1, 59, 60):
        _count(organization, OLD + timedelta(minutes=minute), "accepted", 10)
    _count(organization, OLD + timedelta(minutes=5), "duplicate", 3)
    _count(other, OLD + timedelta(minutes=5), "accepted", 7)
    assert roll_up_intake_counts(now=NOW) == 3
    assert _rows(organization) == [
        (OLD, "accepted", 30),
        (OLD, "duplicate", 3),
        (OLD + timedelta(hours=1), "accepted", 10),
    ]
    assert _rows(other) == [(OLD, "accepted", 7)]
    assert roll_up_intake_counts(now=NOW) == 0


def test_the_last_day_stays_by_the_minute(organization: Organization) -> None:
    youngest = NOW - MINUTES_KEPT
    _count(organization, youngest, "accepted", 1)
    _count(organization, NOW - timedelta(hours=24), "accepted", 1)
    assert roll_up_intake_counts(now=NOW) == 0
    assert [minute for minute, _, _ in _rows(organization)] == [youngest, NOW - timedelta(hours=24)]


@pytest.mark.django_db
def test_beat_runs_it() -> None:
    tasks.roll_up_intake_counts()
    assert CELERY_BEAT_SCHEDULE["roll-up-intake-counts"]["task"] == "ingestion.roll_up_intake_counts"


def _count(organization: Organization, minute: datetime, outcome: str, count: int) -> None:
    IntakeCount.objects.create(organization=organization, minute=minute, outcome=outcome, count=count)


def _rows(organization: Organization) -> list[tuple[datetime, str, int]]:
    rows = IntakeCount.objects.for_organization(organization.pk).order_by("minute", "outcome")
    return list(rows.values_list("minute", "outcome", "count"))
