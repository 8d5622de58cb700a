"""Lists of events whose filter no index answers: bounded pages, of which the whole walk finds exactly what fits."""

from datetime import timedelta

import pytest
from django.db.models import BooleanField
from django.db.models.expressions import RawSQL
from django.utils import timezone

from ingestion import queries
from ingestion.models import EventQuerySet, ProcessingFailure
from ingestion.operations import process_outbox
from tests.conftest import Tenant
from tests.support.events.walking import walk

SENT = 20


def send(tenant: Tenant) -> list[str]:
    """SENT events, of which the oldest, one in the middle and the newest are of the source `/rare`; their ids."""
    ids = []
    for number in range(SENT):
        is_rare = number in {0, 9, SENT - 1}
        event = {"type": "rare.a" if is_rare else "common", "source": "/rare" if is_rare else "/", "data": number}
        ids.append(tenant.post("/api/v1/events", {**event, "subject": "s" if is_rare else None}).json()["id"])
    return ids


@pytest.mark.parametrize("query", ["source=/rare", "subject=s", "type=rare.*", "type=rare.*&source=/rare"])
@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_a_walk_finds_exactly_what_fits(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, query: str, limit: int
) -> None:
    monkeypatch.setattr(queries, "SCANNED_EVENTS", 3)
    ids = send(tenant)
    found, _ = walk(tenant, query, limit=limit)
    assert found == [ids[SENT - 1], ids[9], ids[0]]


def test_a_filter_that_nothing_fits_goes_on_to_the_end(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "SCANNED_EVENTS", 3)
    send(tenant)
    assert walk(tenant, "source=/none") == ([], [0] * 7)


def test_each_status_is_walked_to_the_end(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "SCANNED_EVENTS", 3)
    monkeypatch.setattr(queries, "MAX_MARKED", 1)
    ids = send(tenant)
    process_outbox()
    for event_id in (ids[0], ids[9]):
        ProcessingFailure.objects.create(event_id=event_id, organization=tenant.organization, failed_at=timezone.now())
    late = tenant.post("/api/v1/events", {"type": "common", "data": 1}).json()["id"]
    assert walk(tenant, "status=accepted")[0] == [late]
    assert walk(tenant, "status=failed")[0] == [ids[9], ids[0]]
    assert walk(tenant, "status=failed&source=/rare")[0] == [ids[9], ids[0]]
    assert walk(tenant, "status=failed&source=/none")[0] == []
    processed = [event_id for event_id in reversed(ids) if event_id not in {ids[0], ids[9]}]
    assert walk(tenant, "status=processed")[0] == processed


def test_the_start_of_a_type_finds_what_nobody_has_processed_yet(tenant: Tenant) -> None:
    ids = [tenant.post("/api/v1/events", {"type": "rare.a", "data": 1}).json()["id"]]
    process_outbox()
    ids += [tenant.post("/api/v1/events", {"type": name, "data": 1}).json()["id"] for name in ("rare.b", "rare.a")]
    assert walk(tenant, "type=rare.*", limit=1)[0] == ids[::-1]


def test_times_beyond_all_events_are_no_fault(tenant: Tenant) -> None:
    ids = send(tenant)
    for times in ("received_after=0001-01-01T00:00:00Z", "received_before=9999-12-31T23:59:59Z"):
        assert walk(tenant, f"source=/rare&{times}", limit=5)[0] == [ids[SENT - 1], ids[9], ids[0]]
    earlier = (timezone.now() - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert walk(tenant, f"source=/rare&received_before={earlier}") == ([], [0])


def test_what_takes_too_long_is_looked_at_in_smaller_steps(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each event costs 20 ms, so all of them are too slow, and two are not."""
    ids = send(tenant)
    slow_down(monkeypatch, seconds=0.02)
    monkeypatch.setattr(queries, "FEW_EVENTS", 2)
    found, sizes = walk(tenant, "source=/rare")
    assert found == [ids[SENT - 1], ids[9], ids[0]]
    # Once so few are left that all of them are looked at in time, one page is enough.
    assert len(sizes) > 2


def test_when_not_even_a_few_can_be_looked_at_it_is_a_503(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    send(tenant)
    slow_down(monkeypatch, seconds=1)
    answer = tenant.get("/api/v1/events?source=/rare")
    assert (answer.status_code, answer.json()["code"]) == (503, "service_unavailable")
    assert answer.headers["Retry-After"] == "1"


def slow_down(monkeypatch: pytest.MonkeyPatch, *, seconds: float) -> None:
    """Looking at an event takes so long; a statement has 250 ms."""

    def one_by_one(events: EventQuerySet, wanted: queries.EventCriteria) -> EventQuerySet:
        slowly = RawSQL(
            "pg_sleep(%s) IS NOT NULL AND source = %s", [seconds, wanted.source], output_field=BooleanField()
        )
        return events.filter(slowly)

    monkeypatch.setattr(queries, "TIMEOUT_MS", 250)
    monkeypatch.setattr(queries, "_one_by_one", one_by_one)
