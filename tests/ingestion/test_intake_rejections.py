"""The newest rejections of an organization: shown one by one, bounded, its own, and without secrets."""

from typing import Any
from uuid import uuid4

import msgspec
import pytest
from django_redis import get_redis_connection
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from redis.exceptions import RedisError

from core.ports import SyncRedis, run_now
from core.problems import Problem
from ingestion.formats.beginnings import MAX_BEGINNING, beginning_of
from ingestion.formats.request_headers import MASK
from ingestion.intake.rejections import KEPT, newest_rejections, note_rejection, record_rejections
from tests.conftest import Tenant
from tests.factories import UserFactory
from tests.support.people.console_data import browser_of, make_member

SENT: dict[str, Any] = {"request_id": "r-1", "key_prefix": "evp_test_abc"}


class AwayRedis:
    async def evaluate(self, *_: Any) -> None:
        raise RedisError


def test_each_rejection_is_on_the_live_page_of_its_organization(tenant: Tenant, other_tenant: Tenant) -> None:
    tenant.post("/api/v1/events", {"type": "no type!", "data": 1})
    tenant.post("/api/v1/events/batch", {"events": [{"type": "good", "data": 1}, {"type": "no type!", "data": 1}]})
    run_now(record_rejections(SyncRedis()))
    for each, shown in ((tenant, 2), (other_tenant, 0)):
        browser = browser_of(make_member(each.organization))
        for path in ("live/", "live/stream"):
            page = browser.get(f"/console/o/{each.organization.slug}/{path}").getvalue().decode()
            assert page.count("<code>validation_failed</code>") == shown, path


def test_a_rejection_says_what_was_wrong_who_sent_it_and_how_it_began(tenant: Tenant) -> None:
    bad = {"type": "no type!", "data": {"amount": 1, "password": "hunter2"}}
    answer = tenant.post("/api/v1/events", bad)
    tenant.post("/api/v1/events/batch", {"events": [{"type": "good", "data": 1}, bad]})
    run_now(record_rejections(SyncRedis()))
    of_batch, single = newest_rejections(tenant.organization.pk, limit=9)
    assert single.request_id == answer["Request-Id"]
    assert single.key_prefix
    assert single.key_prefix in tenant.plaintext
    assert single.errors[0][0] == "/type"
    assert '"amount"' in single.beginning
    assert (single.index, of_batch.index) == (None, 1)
    lines = get_redis_connection("default").lrange(f"rejected:{tenant.organization.pk}", 0, -1)
    assert b"hunter2" not in b"".join(lines)


def test_the_page_shows_causes_and_shows_bodies_to_those_who_may_read_data(tenant: Tenant) -> None:
    tenant.post("/api/v1/events", {"type": "no type!", "data": "<b>payload</b>"})
    tenant.post("/api/v1/events", b"{")
    run_now(record_rejections(SyncRedis()))
    path = f"/console/o/{tenant.organization.slug}/rejected/"
    member = browser_of(make_member(tenant.organization))
    pages = {code: member.get(path, {"code": code}).content.decode() for code in ("", "malformed_json")}
    assert "&lt;b&gt;payload" in pages[""]
    assert "<code>/type</code>" in pages[""]
    assert "<code>malformed_json</code>" in pages[""]
    assert "<code>malformed_json</code>" in pages["malformed_json"]
    assert "<code>/type</code>" not in pages["malformed_json"]
    of_staff = browser_of(UserFactory.create(is_staff=True)).get(path).content.decode()
    assert "<code>/type</code>" in of_staff
    assert "payload&lt;" not in of_staff


def test_the_page_is_its_organizations_own(tenant: Tenant, other_tenant: Tenant) -> None:
    tenant.post("/api/v1/events", {"type": "no type!", "data": 1})
    run_now(record_rejections(SyncRedis()))
    stranger = browser_of(make_member(other_tenant.organization))
    assert stranger.get(f"/console/o/{tenant.organization.slug}/rejected/").status_code == 404
    own = stranger.get(f"/console/o/{other_tenant.organization.slug}/rejected/").content.decode()
    assert "Nothing was rejected in the last hour" in own


def test_what_was_refused_unread_is_kept_without_its_body(tenant: Tenant) -> None:
    note_rejection(tenant.organization.pk, Problem("rate_limited"), body=b"{}", **SENT)
    run_now(record_rejections(SyncRedis()))
    (found,) = newest_rejections(tenant.organization.pk, limit=5)
    assert (found.code, found.beginning) == ("rate_limited", "")


def test_only_the_newest_are_kept(tenant: Tenant) -> None:
    for code in ("rate_limited", "validation_failed"):
        for _ in range(KEPT + 1):
            note_rejection(tenant.organization.pk, Problem(code), **SENT)
        run_now(record_rejections(SyncRedis()))
    found = newest_rejections(tenant.organization.pk, limit=2 * KEPT)
    assert len(found) == KEPT
    assert {each.code for each in found} == {"validation_failed"}
    assert found[0].moment >= found[-1].moment


def test_many_organizations_at_once_cost_a_bounded_amount() -> None:
    organizations = [uuid4() for _ in range(200)]
    for organization in organizations:
        note_rejection(organization, Problem("validation_failed"), body=b"a" * 100_000, **SENT)
    run_now(record_rejections(SyncRedis()))
    kept = [each for one in organizations for each in newest_rejections(one, limit=5)]
    assert len(kept) == 50
    assert sum(len(each.beginning) for each in kept) <= 50 * (MAX_BEGINNING + 1)


def test_a_redis_that_is_away_is_no_fault(tenant: Tenant) -> None:
    note_rejection(tenant.organization.pk, Problem("rate_limited"), **SENT)
    run_now(record_rejections(AwayRedis()))
    assert newest_rejections(tenant.organization.pk, limit=5) == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"api_key": "hunter2"}',
        b'{"data":{"Password" : "hun\\"ter2',
        b'{"access-token":hunter2,"a":1}',
        b'not JSON, yet "secret":"hunter2"',
        b'{"note":"evp_live_hunter2"}',
    ],
)
def test_secrets_are_masked(body: bytes) -> None:
    assert "ter2" not in beginning_of(body)
    assert MASK in beginning_of(body)


def test_an_idempotency_key_is_no_secret() -> None:
    assert beginning_of(b'{"idempotency_key":"inv_1"}') == '{"idempotency_key":"inv_1"}'


@given(st.binary(max_size=2_000) | st.text(max_size=1_000).map(str.encode))
@examples(max_examples=200, derandomize=True, deadline=None, database=None)
def test_any_body_has_a_beginning_that_can_be_written(body: bytes) -> None:
    beginning = beginning_of(body)
    assert len(beginning) <= 2 * MAX_BEGINNING
    assert msgspec.json.decode(msgspec.json.encode(beginning)) == beginning
