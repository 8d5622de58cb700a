"""Keys that end: what is over has no successor, and no key makes one that outlives it."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from core.problems import Problem
from core.times import format_time
from organizations.keys.scopes import Scope
from organizations.models import ApiKey, Organization, Role
from organizations.operations import issue_key, revoke_key, rotate_key
from tests.conftest import Tenant, make_tenant
from tests.factories import TESTER, UserFactory, make_key
from tests.support.people.console_data import browser_of, make_member

KEYS = "/api/v1/api-keys"
DAY = timedelta(days=1)


def in_days(days: float) -> datetime:
    return timezone.now() + days * DAY


def rotate(tenant: Tenant, key: ApiKey, body: Any = None) -> Any:
    return tenant.post(f"{KEYS}/{key.pk}/rotate", body)


def over(organization: Organization, state: str) -> ApiKey:
    """A key with every scope that has expired or was revoked."""
    key, _ = make_key(organization, expires_at=in_days(-1) if state == "expired" else None)
    if state == "revoked":
        revoke_key(key=key, actor=TESTER)
    return key


@pytest.mark.parametrize("state", ["expired", "revoked"])
def test_a_key_that_is_over_has_no_successor(tenant: Tenant, state: str) -> None:
    key = over(tenant.organization, state)
    before = ApiKey.objects.get(pk=key.pk)
    answer = rotate(tenant, key)
    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
    assert state in answer.json()["detail"]
    with pytest.raises(Problem, match="no successor"):
        rotate_key(key=key, overlap=DAY, actor=TESTER)
    admin = browser_of(make_member(tenant.organization, Role.ADMIN))
    path = f"/console/o/{tenant.organization.slug}/keys/{key.pk}/rotate"
    for page in (admin.get(path), admin.post(path, {"overlap": "0"})):
        assert page.status_code == 409
        assert "has no successor" in page.content.decode()
    superuser = browser_of(UserFactory.create(is_staff=True, is_superuser=True))
    done = {"action": "rotate", "_selected_action": [str(key.pk)]}
    assert "has no successor" in superuser.post("/admin/organizations/apikey/", done, follow=True).content.decode()
    assert list(ApiKey.objects.for_organization(tenant.organization.pk).exclude(pk=tenant.key.pk)) == [before]


def test_a_successor_keeps_expiry_and_scopes(tenant: Tenant) -> None:
    key, _ = make_key(tenant.organization, scopes=["events:read"], expires_at=in_days(30))
    for body in (None, {}, {"overlap_seconds": 3600}):
        made = rotate(tenant, key, body)
        assert made.status_code == 201
        successor = ApiKey.objects.get(pk=made.json()["id"])
        assert (successor.scopes, successor.expires_at) == (["events:read"], key.expires_at)
        assert successor.name == key.name
        key = successor


def test_the_old_key_ends_with_the_overlap_or_when_it_would_have(tenant: Tenant) -> None:
    soon, never = make_key(tenant.organization, expires_at=in_days(0.5))[0], make_key(tenant.organization)[0]
    for key in (soon, never):
        assert rotate(tenant, key).status_code == 201
    assert ApiKey.objects.get(pk=soon.pk).expires_at == soon.expires_at
    ends = ApiKey.objects.get(pk=never.pk).expires_at
    assert ends is not None
    assert in_days(0.9) < ends < in_days(1.1)


def test_a_successor_takes_another_expiry(tenant: Tenant) -> None:
    key, _ = make_key(tenant.organization, expires_at=in_days(30))
    later = in_days(90)
    made = rotate(tenant, key, {"expires_at": format_time(later)})
    assert made.json()["expires_at"] == format_time(later)
    assert rotate(tenant, key, {"expires_at": None}).json()["expires_at"] is None
    past = rotate(tenant, key, {"expires_at": "2020-01-01T00:00:00Z"})
    assert (past.status_code, past.json()["errors"][0]["code"]) == (422, "in_the_past")


def test_a_key_that_expires_makes_none_that_outlives_it(db: None) -> None:
    ends = in_days(10)
    manager = make_tenant(expires_at=ends)
    never, _ = make_key(manager.organization)
    new = {"name": "CI", "scopes": ["events:read"]}
    later = {"expires_at": format_time(ends + DAY)}
    refused = [
        manager.post(KEYS, {**new, **later}),
        rotate(manager, never),  # it would live for ever
        rotate(manager, never, later),
        rotate(manager, manager.key, later),
        rotate(manager, manager.key, {"expires_at": None}),
    ]
    for answer in refused:
        assert answer.status_code == 422
        assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [("/expires_at", "too_late")]
    assert ApiKey.objects.for_organization(manager.organization.pk).count() == 2
    never.refresh_from_db()
    assert never.expires_at is None
    made = [
        manager.post(KEYS, new),
        manager.post(KEYS, {**new, "expires_at": format_time(in_days(5))}),
        rotate(manager, never, {"expires_at": format_time(ends)}),
        rotate(manager, manager.key),
    ]
    for answer in made:
        assert answer.status_code == 201
        assert answer.json()["expires_at"] <= format_time(ends)


def test_a_key_that_never_expires_makes_any(tenant: Tenant) -> None:
    made = tenant.post(KEYS, {"name": "CI", "scopes": ["events:read"]})
    assert (made.status_code, made.json()["expires_at"]) == (201, None)


def test_a_person_chooses_when_the_successor_expires(tenant: Tenant) -> None:
    admin = browser_of(make_member(tenant.organization, Role.ADMIN))
    key, _ = make_key(tenant.organization, expires_at=in_days(3))
    path = f"/console/o/{tenant.organization.slug}/keys/{{}}/rotate"
    newest = ApiKey.objects.for_organization(tenant.organization.pk).order_by("-pk")
    assert admin.post(path.format(key.pk), {"overlap": "604800"}).status_code == 302
    assert newest[0].expires_at == key.expires_at
    assert admin.post(path.format(key.pk), {"overlap": "604800", "days": "never"}).status_code == 302
    assert newest[0].expires_at is None
    assert admin.post(path.format(key.pk), {"overlap": "604800", "days": "90"}).status_code == 302
    assert newest[0].expires_at is not None
    assert newest[0].expires_at > in_days(89)


def test_the_admins_successor_keeps_the_expiry(tenant: Tenant) -> None:
    issued = issue_key(
        organization=tenant.organization, name="CI", scopes=[Scope.EVENTS_READ], actor=TESTER, expires_at=in_days(3)
    )
    superuser = browser_of(UserFactory.create(is_staff=True, is_superuser=True))
    done = {"action": "rotate", "_selected_action": [str(issued.key.pk)]}
    assert superuser.post("/admin/organizations/apikey/", done).status_code == 200
    rows = ApiKey.objects.for_organization(tenant.organization.pk).filter(name="CI").exclude(pk=issued.key.pk)
    assert [(row.expires_at, row.scopes) for row in rows] == [(issued.key.expires_at, ["events:read"])]
