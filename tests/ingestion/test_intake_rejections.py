"""The newest rejections of an organization: shown one by one, bounded, its own, and nothing of what was sent."""

from typing import Any

from django_redis import get_redis_connection
from redis.exceptions import RedisError

from core.ports import SyncRedis, run_now
from ingestion.intake.rejections import KEPT, newest_rejections, note_rejection, record_rejections
from tests.conftest import Tenant
from tests.support.people.console_data import browser_of, make_member


class AwayRedis:
    async def evaluate(self, *_: Any) -> None:
        raise RedisError


def test_each_rejection_is_on_the_live_page_of_its_organization(tenant: Tenant, other_tenant: Tenant) -> None:
    tenant.post("/api/v1/events", {"type": "no type!", "data": "payload"})
    tenant.post("/api/v1/events/batch", {"events": [{"type": "good", "data": 1}, {"type": "no type!", "data": 1}]})
    run_now(record_rejections(SyncRedis()))
    (key,) = get_redis_connection("default").keys("*rejections:*")
    assert b"payload" not in b"".join(get_redis_connection("default").lrange(key, 0, -1))
    for each, shown in ((tenant, 2), (other_tenant, 0)):
        browser = browser_of(make_member(each.organization))
        for path in ("live/", "live/stream"):
            page = browser.get(f"/console/o/{each.organization.slug}/{path}").getvalue().decode()
            assert page.count("<code>validation_failed</code>") == shown, path


def test_only_the_newest_are_kept(tenant: Tenant) -> None:
    for portion in ("rate_limited", "validation_failed"):
        for _ in range(KEPT + 1):
            note_rejection(tenant.organization.pk, portion)
        run_now(record_rejections(SyncRedis()))
    found = newest_rejections(tenant.organization.pk, limit=2 * KEPT)
    assert len(found) == KEPT
    assert {each.code for each in found} == {"validation_failed"}
    assert found[0].moment >= found[-1].moment


def test_a_redis_that_is_away_is_no_fault(tenant: Tenant) -> None:
    note_rejection(tenant.organization.pk, "rate_limited")
    run_now(record_rejections(AwayRedis()))
    assert newest_rejections(tenant.organization.pk, limit=5) == []
