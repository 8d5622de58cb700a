"""No tenant reaches another one's objects. New routes are covered by being in the URLconf."""

import re

import pytest
from django.test import Client
from django.urls import get_resolver

from ingestion.operations import process_outbox
from organizations.models import Membership
from tests.conftest import Tenant
from tests.factories import UserFactory, make_organization
from tests.test_api import api_paths, walk_routes

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
NOBODY = "01900000-0000-7000-8000-000000000000"


@pytest.mark.parametrize("path", [path for path in api_paths() if NOBODY in path])
def test_anothers_object_is_not_found(tenant: Tenant, other_tenant: Tenant, path: str) -> None:
    event_id = tenant.post("/api/v1/events", {"type": "secret", "data": "of the tenant"}).json()["id"]
    process_outbox()
    objects = {"events": event_id, "api-keys": str(tenant.key.pk), "event-types": "secret"}
    target = path.replace(NOBODY, objects[path.split("/")[3]])
    for method in METHODS:
        assert other_tenant.request(method, target).status_code in {404, 405}
    assert tenant.get("/api/v1/organization").status_code == 200


@pytest.mark.parametrize("path", [path for path in api_paths() if NOBODY not in path])
def test_lists_hold_only_ones_own(tenant: Tenant, other_tenant: Tenant, path: str) -> None:
    tenant.post("/api/v1/events", {"type": "secret", "data": "of the tenant"})
    process_outbox()
    answer = other_tenant.get(path).content.decode()
    assert "of the tenant" not in answer
    assert tenant.key.public_id not in answer
    assert str(tenant.organization.pk) not in answer


def test_a_cursor_of_another_tenant_shows_nothing_of_it(tenant: Tenant, other_tenant: Tenant) -> None:
    for _ in range(2):
        tenant.post("/api/v1/events", {"type": "secret", "data": 1})
    cursor = tenant.get("/api/v1/events?limit=1").json()["next_cursor"]
    assert other_tenant.get(f"/api/v1/events?cursor={cursor}").json()["data"] == []


def test_an_ack_of_anothers_event_changes_nothing(tenant: Tenant, other_tenant: Tenant) -> None:
    event_id = tenant.post("/api/v1/events", {"type": "secret", "data": 1}).json()["id"]
    process_outbox()
    assert other_tenant.post("/api/v1/inbox/ack", {"event_ids": [event_id]}).json()["unknown"] == [event_id]
    assert len(tenant.get("/api/v1/inbox").json()["data"]) == 1


def people_paths() -> list[str]:
    found = [
        path for path in walk_routes(get_resolver().url_patterns, "/") if path.startswith(("/admin/", "/console/"))
    ]
    plain = [re.sub(r"<[^>]+>", NOBODY, path) for path in found]
    return sorted(path for path in plain if "(?P" not in path and "sign-in" not in path and "login" not in path)


@pytest.mark.parametrize("path", people_paths())
def test_a_stranger_sees_no_page(tenant: Tenant, path: str) -> None:
    for method in ("GET", "POST"):
        answer = tenant.client.generic(method, path)
        assert answer.status_code in {302, 403, 404, 405} or path in {"/admin/jsi18n/"}


@pytest.mark.parametrize("path", people_paths())
def test_a_member_of_another_organization_sees_nothing_of_it(tenant: Tenant, path: str) -> None:
    event_id = tenant.post("/api/v1/events", {"type": "secret", "data": "of the tenant"}).json()["id"]
    process_outbox()
    member = UserFactory.create()
    Membership.objects.create(organization=make_organization(), user=member, role="owner")
    client = Client()
    client.force_login(member, backend="django.contrib.auth.backends.ModelBackend")
    for target in {path, path.replace(NOBODY, event_id), path.replace(NOBODY, str(tenant.organization.pk))}:
        page = client.get(target).content.decode()
        assert "of the tenant" not in page
        assert tenant.organization.name not in page
        assert tenant.key.public_id not in page
