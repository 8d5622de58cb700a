"""Who may open and do what on the pages by which members help themselves: each URL, for each kind of person."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from console.events.filters import EventFilters
from console.exports.jobs import create_export
from console.manage_urls import of_organization
from console.models import ExportFormat
from delivery.models import Replay
from ingestion.models import EventType
from organizations.models import ApiKey, Membership, Organization, Role
from organizations.operations import invite_member
from tests.conftest import Tenant
from tests.factories import TESTER, UserFactory, make_organization
from tests.support.people.console_data import Scene, browser_of, make_issue, make_member, make_retry, make_scene
from tests.support.people.console_site import Site, as_role, site_of, staff

pytestmark = pytest.mark.slow

MAX_QUERIES = 12
MEMBERS = {"owner", "admin", "member"}
MANAGERS = {"owner", "admin"}
EVERYBODY = {"owner", "admin", "member", "viewer", "staff", "operator", "superuser"}
PEOPLE = sorted(EVERYBODY)

# URL name → who may; GET unless it is one of POST_ONLY.
ALLOWED = {
    "keys": EVERYBODY - {"viewer"},
    "issue-key": MANAGERS | {"operator", "superuser"},
    "rotate-key": MANAGERS | {"operator", "superuser"},
    "revoke-key": MANAGERS | {"operator", "superuser"},
    "subscriptions": EVERYBODY,
    "create-subscription": MEMBERS | {"operator", "superuser"},
    "subscription": EVERYBODY,
    "charts": EVERYBODY,
    "edit-subscription": MEMBERS | {"operator", "superuser"},
    "delete-subscription": MEMBERS | {"operator", "superuser"},
    "pause-subscription": MEMBERS | {"operator", "superuser"},
    "resume-subscription": MEMBERS | {"operator", "superuser"},
    "try-endpoint": MEMBERS | {"operator", "superuser"},
    "rotate-secret": MEMBERS | {"operator", "superuser"},
    "reveal-secret": MEMBERS | {"operator", "superuser"},
    "test-webhook": MEMBERS | {"operator", "superuser"},
    "deliveries": EVERYBODY,
    "delivery": EVERYBODY,
    "attempt": EVERYBODY,
    "delivery-body": EVERYBODY - {"staff"},
    "retry-delivery": MEMBERS | {"operator", "superuser"},
    "skip-delivery": MEMBERS | {"operator", "superuser"},
    "dead-letters": EVERYBODY,
    "retry-selected": MEMBERS | {"operator", "superuser"},
    "job": EVERYBODY,
    "cancel-job": MEMBERS | {"operator", "superuser"},
    "issues": EVERYBODY,
    "annotate-issue": MEMBERS | {"operator", "superuser"},
    "retry-all": MEMBERS | {"operator", "superuser"},
    "create-replay": MEMBERS | {"operator", "superuser"},
    "replays": EVERYBODY,
    "replay-progress": EVERYBODY,
    "cancel-replay": MEMBERS | {"operator", "superuser"},
    "event-types": EVERYBODY,
    "create-event-type": MEMBERS | {"operator", "superuser"},
    "event-type": EVERYBODY,
    "edit-event-type": MEMBERS | {"operator", "superuser"},
    "delete-event-type": MEMBERS | {"operator", "superuser"},
    "exports": MEMBERS | {"operator", "superuser"},
    "create-export": MEMBERS | {"operator", "superuser"},
    "export": MEMBERS | {"operator", "superuser"},
    "cancel-export": MEMBERS | {"operator", "superuser"},
    "download-export": MEMBERS | {"operator", "superuser"},
    "members": EVERYBODY,
    "invite": MANAGERS | {"operator", "superuser"},
    "change-role": MANAGERS | {"operator", "superuser"},
    "remove-member": MANAGERS | {"operator", "superuser"},
    "withdraw-invitation": MANAGERS | {"operator", "superuser"},
    "notices": {"owner", "superuser"},
    "usage": EVERYBODY,
    "audit": EVERYBODY - {"viewer", "member"},
    "export-audit": EVERYBODY - {"viewer", "member"},
}
POST_ONLY = {
    "annotate-issue",
    "cancel-job",
    "issue-key",
    "pause-subscription",
    "resume-subscription",
    "try-endpoint",
    "retry-delivery",
    "skip-delivery",
    "retry-selected",
    "invite",
    "change-role",
    "withdraw-invitation",
}
# The export of these tests is still running, and there is no file without a format: a 404 for whoever may have them.
NOT_THERE = {"download-export", "export-audit"}
# What tenants sent, as it is.
FILES = {"delivery-body"}


@pytest.fixture
def paths(tenant: Tenant) -> dict[str, str]:
    """URL name → its path below the organization's, with ids of this organization."""
    ids = _make_one_of_each(make_scene(tenant))
    return {pattern.name or "": _path(str(pattern.pattern), ids) for pattern in of_organization}


def _make_one_of_each(scene: Scene) -> dict[str, str]:
    """Their ids, by the name that the URLs give them."""
    organization, now = scene.organization, timezone.now()
    person = make_member(organization, Role.ADMIN)
    replay = Replay.objects.create(
        organization=organization, subscription=scene.webhook, received_after=now, received_before=now, total=3
    )
    invitation = invite_member(
        organization=organization, email="a@example.com", role="member", invited_by=person, actor=TESTER, now=now
    )
    wanted, kind = EventFilters(), ExportFormat.CSV
    export = create_export(organization=organization, user=person, wanted=wanted, kind=kind, actor=TESTER, now=now)
    return {
        "key_id": str(ApiKey.objects.get(organization=organization).pk),
        "subscription_id": str(scene.webhook.pk),
        "delivery_id": str(scene.dead.pk),
        "number": "2",
        "replay_id": str(replay.pk),
        "issue_id": str(make_issue(scene.dead).pk),
        "job_id": str(make_retry(scene.webhook).pk),
        "type_id": str(EventType.objects.get(organization=organization, name="invoice.paid").pk),
        "export_id": str(export.pk),
        "membership_id": str(Membership.objects.get(user=person).pk),
        "invitation_id": str(invitation.pk),
    }


def _path(route: str, ids: dict[str, str]) -> str:
    """`keys/<uuid:key_id>/rotate` → `keys/0192…/rotate`."""
    for name, value in ids.items():
        for converter in ("uuid", "int"):
            route = route.replace(f"<{converter}:{name}>", value)
    assert "<" not in route
    return route


def person(kind: str, organization: Organization) -> Site:
    if kind in Role.values:
        return as_role(organization, Role(kind))
    if kind == "superuser":
        return site_of(organization, User.objects.create_superuser("root"))
    return staff(organization, operator=kind == "operator")


def test_every_url_is_in_the_table() -> None:
    assert {pattern.name for pattern in of_organization} == ALLOWED.keys()


@pytest.mark.parametrize("kind", PEOPLE)
def test_each_page_is_open_to_whom_it_is_for(tenant: Tenant, paths: dict[str, str], kind: str) -> None:
    site = person(kind, tenant.organization)
    for name, path in paths.items():
        if name in POST_ONLY:
            if kind not in ALLOWED[name]:
                assert site.post(path).status_code == 403, name
            continue
        expected = 403 if kind not in ALLOWED[name] else 404 if name in NOT_THERE else 200
        assert site.get(path).status_code == expected, name
        if kind not in ALLOWED[name]:
            assert site.post(path).status_code in {403, 405}, name


def test_a_stranger_finds_nothing(tenant: Tenant, paths: dict[str, str]) -> None:
    stranger = site_of(tenant.organization, make_member(make_organization(), Role.OWNER))
    nobody = site_of(tenant.organization, UserFactory.create())
    for name, path in paths.items():
        for site in (stranger, nobody):
            assert site.post(path).status_code in {404, 405}, name
            assert site.get(path).status_code in {404, 405}, name


def test_nobody_signed_in_is_asked_to_sign_in(tenant: Tenant, paths: dict[str, str]) -> None:
    site = Site(tenant.organization, Client())
    for name, path in paths.items():
        for answer in (site.get(path), site.post(path)):
            assert answer.status_code in {302, 405}, name
            assert answer.status_code == 405 or answer["Location"].startswith("/console/sign-in/"), name


def test_another_organizations_ids_are_not_found(paths: dict[str, str]) -> None:
    """Even for an owner, and with a URL of one's own organization."""
    owner = as_role(make_organization(), Role.OWNER)
    with_ids = {name: path for name, path in paths.items() if any(character.isdigit() for character in path)}
    assert len(with_ids) > 25
    for name, path in with_ids.items():
        assert owner.get(path).status_code in {404, 405}, name
        assert owner.post(path, role="viewer").status_code in {404, 405}, name


def test_forms_need_a_token(tenant: Tenant, paths: dict[str, str]) -> None:
    client = Client(enforce_csrf_checks=True)
    client.cookies = browser_of(make_member(tenant.organization, Role.OWNER)).cookies
    site = Site(tenant.organization, client)
    for name, path in paths.items():
        assert site.post(path).status_code in {403, 405}, name


def test_a_page_takes_few_queries(tenant: Tenant, paths: dict[str, str]) -> None:
    """As staff of the group `operator`, for whom most has to be looked up."""
    site = person("operator", tenant.organization)
    site.get("usage/")
    too_many: dict[str, Any] = {}
    for name, path in paths.items():
        if name in POST_ONLY:
            continue
        with CaptureQueriesContext(connection) as queries:
            site.get(path)
        if len(queries) > MAX_QUERIES:
            too_many[name] = [query["sql"][:150] for query in queries]
    assert too_many == {}


def test_the_number_of_queries_does_not_grow_with_the_rows(
    tenant: Tenant, paths: dict[str, str], django_assert_max_num_queries: Callable[..., Any]
) -> None:
    organization = tenant.organization
    site = as_role(organization, Role.OWNER)
    for number in range(20):
        make_member(organization, Role.VIEWER)
        EventType.objects.create(organization=organization, name=f"type.{number}", first_seen_at=timezone.now())
        organization.subscriptions.create(kind="webhook", url=f"https://example.com/{number}")
    for name in ("subscriptions", "members", "event-types", "keys", "audit"):
        site.get(paths[name])
        with django_assert_max_num_queries(MAX_QUERIES):
            assert site.get(paths[name]).status_code == 200


def test_pages_allow_no_inline_script(tenant: Tenant, paths: dict[str, str]) -> None:
    site = person("superuser", tenant.organization)
    for name, path in paths.items():
        if name in POST_ONLY | NOT_THERE | FILES:
            continue
        answer = site.get(path)
        assert answer["Content-Security-Policy"].count("unsafe") == 0
        page = answer.content.decode()
        assert "<script>" not in page, name
        assert " style=" not in page, name
        assert " onclick=" not in page, name
