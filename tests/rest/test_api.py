"""What every endpoint shares: authentication, keys, errors, ids, health."""

import re
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from core.ports import SyncDatabase, run_now
from core.problems import PROBLEM_TYPES
from ingestion.operations import process_outbox
from organizations.audit import Actor
from organizations.keys import authentication
from organizations.keys.key_format import generate_key, public_id
from organizations.keys.key_use import record_key_use
from organizations.models import AuditEntry
from organizations.operations import revoke_key, suspend_organization
from tests.conftest import Tenant, make_tenant
from tests.support.routes import api_paths

ROOT = Path(__file__).parents[2]
TESTER = Actor.system("tests")


@pytest.mark.parametrize("path", [*api_paths(), "/api/nothing"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"])
def test_every_error_is_a_documented_problem(db: None, path: str, method: str) -> None:
    answer = Client(raise_request_exception=False).generic(method, path)
    assert 400 <= answer.status_code < 500
    assert answer["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] in PROBLEM_TYPES
    assert problem["status"] == answer.status_code
    assert problem["request_id"] == answer["Request-Id"]
    assert "app;dur=" in answer["Server-Timing"]
    assert (answer.status_code == 401) == ("WWW-Authenticate" in answer)


def test_the_docs_explain_exactly_the_codes_there_are() -> None:
    documented = re.findall(r"^\| `(\w+)` \| (\d+) \|", (ROOT / "docs/errors.md").read_text(), re.MULTILINE)
    assert dict(documented) == {code: str(kind.status) for code, kind in PROBLEM_TYPES.items()}


def test_the_docs_name_exactly_the_settings_there_are() -> None:
    read = re.findall(r'env\.\w+\(\s*"(\w+)"', (ROOT / "events_platform/settings.py").read_text())
    documented = (ROOT / "docs/settings.md").read_text()
    assert [name for name in read if f"`{name}`" not in documented] == []


def test_the_problem_page_explains_each_code_at_an_anchor() -> None:
    page = Client().get("/docs/errors").content.decode()
    assert all(f'id="{code}"' in page for code in PROBLEM_TYPES)
    assert "<code>Authorization: Bearer &lt;key&gt;</code>" in page
    assert "`" not in page


def test_a_sane_request_id_is_kept(tenant: Tenant) -> None:
    assert tenant.get("/api/v1/organization", **{"Request-Id": "abc-1"})["Request-Id"] == "abc-1"
    assert tenant.get("/api/v1/organization", **{"Request-Id": "a b"})["Request-Id"] != "a b"


def test_keys_have_the_published_form() -> None:
    key = generate_key("live")
    assert re.fullmatch(r"evp_live_[0-9A-Za-z]{51}", key)
    assert public_id(key) == key[9:21]
    mistyped = key[:-1] + ("0" if key[-1] != "0" else "1")
    assert public_id(mistyped) is None


def test_a_mistyped_key_costs_no_query(db: None, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        answer = Client().get("/api/v1/organization", headers={"X-API-Key": "evp_live_x"})
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")


def test_an_unknown_key_is_refused(db: None) -> None:
    answer = Client().get("/api/v1/organization", headers={"X-API-Key": generate_key("live")})
    assert answer.json()["code"] == "invalid_api_key"


def test_revoked_expired_and_suspended_have_codes_of_their_own(tenant: Tenant) -> None:
    revoke_key(key=tenant.key, actor=TESTER)
    assert tenant.get("/api/v1/organization").json()["code"] == "api_key_revoked"
    expired = make_tenant(expires_at=timezone.now() - timedelta(seconds=1))
    assert expired.get("/api/v1/organization").json()["code"] == "api_key_expired"
    suspended = make_tenant()
    suspend_organization(organization=suspended.organization, reason="unpaid", actor=TESTER)
    answer = suspended.get("/api/v1/events")
    assert (answer.status_code, answer.json()["code"]) == (403, "organization_suspended")


def test_a_revoked_key_is_remembered_for_less_than_two_seconds(
    tenant: Tenant, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is used all the time, and while somebody asks for it anew."""
    now = 1_000.0
    monkeypatch.setattr(authentication, "time", SimpleNamespace(monotonic=lambda: now))
    assert tenant.get("/api/v1/organization").status_code == 200
    revoke_key(key=tenant.key, actor=TESTER)
    statuses = []
    for _ in range(19):
        now += 0.1
        statuses.append(tenant.get("/api/v1/organization").status_code)
    assert (statuses[0], statuses[-1]) == (200, 401)
    assert settings.API_KEY_CACHE_SECONDS + authentication._ASKING_SECONDS < 2


def test_a_missing_scope_is_forbidden(db: None) -> None:
    reader = make_tenant(scopes=["events:read"])
    answer = reader.post("/api/v1/events", {"type": "a", "data": 1})
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")


def test_head_needs_the_scope_of_get(db: None) -> None:
    writer = make_tenant(scopes=["events:write"])
    assert writer.request("HEAD", "/api/v1/events").status_code == 403


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00", "2026-02-30T00:00:00Z"])
def test_a_time_that_is_none_is_refused(tenant: Tenant, moment: str) -> None:
    assert tenant.get(f"/api/v1/events?received_after={moment}").status_code == 422


def test_a_tenant_manages_its_keys(tenant: Tenant) -> None:
    created = tenant.post("/api/v1/api-keys", {"name": "CI", "scopes": ["events:write"]})
    assert created.status_code == 201
    key_id = created.json()["id"]
    rotated = tenant.post(f"/api/v1/api-keys/{key_id}/rotate", {"overlap_seconds": 60})
    assert rotated.status_code == 201
    assert rotated.json()["key"] != created.json()["key"]
    assert tenant.get(f"/api/v1/api-keys/{key_id}").json()["expires_at"] is not None
    listed = tenant.get("/api/v1/api-keys").json()["data"]
    assert len(listed) == 3
    assert not any("key" in row or "key_hash" in row for row in listed)
    assert tenant.request("DELETE", f"/api/v1/api-keys/{key_id}").status_code == 204
    assert tenant.post(f"/api/v1/api-keys/{key_id}/rotate").status_code == 409
    actions = set(AuditEntry.objects.for_organization(tenant.organization.pk).values_list("action", flat=True))
    assert {"api_key.issued", "api_key.rotated", "api_key.revoked"} <= actions


def test_a_key_cannot_grant_what_it_lacks(db: None) -> None:
    manager = make_tenant(scopes=["keys:manage"])
    answer = manager.post("/api/v1/api-keys", {"name": "x", "scopes": ["events:write"]})
    assert answer.status_code == 403


def test_the_use_of_a_key_is_recorded_in_bulk(tenant: Tenant) -> None:
    tenant.get("/api/v1/organization")
    assert run_now(record_key_use(SyncDatabase())) == 1
    tenant.key.refresh_from_db()
    assert tenant.key.last_used_at is not None


def test_the_organization_tells_its_limits(tenant: Tenant) -> None:
    shown = tenant.get("/api/v1/organization").json()
    assert shown["plan"] == "free"
    assert (shown["limits"]["events_per_minute"], shown["limits"]["retention_days"]) == (100, 7)
    assert (shown["usage"]["events_last_24_hours"], shown["usage"]["events_last_30_days"]) == (0, 0)


def test_the_organization_tells_its_usage(tenant: Tenant) -> None:
    tenant.post("/api/v1/events", {"type": "a", "data": 1})
    process_outbox()
    shown = tenant.get("/api/v1/organization").json()
    assert (shown["usage"]["events_last_24_hours"], shown["usage"]["events_last_30_days"]) == (1, 1)


def test_health(db: None, client: Client) -> None:
    assert client.get("/health/live").status_code == 200
    ready = client.get("/health/ready")
    assert (ready.status_code, ready.json()["failing"]) == (200, [])
