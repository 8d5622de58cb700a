"""Staff of no group sees what happened in every organization, and nothing of what tenants send."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from accounts.groups import GROUPS, OPERATOR, SUPPORT
from console.exports.jobs import download_token
from console.models import Export
from ingestion.models import VIEW_PAYLOAD
from organizations.models import Role
from tests.conftest import Tenant
from tests.factories import UserFactory, make_organization
from tests.support.people.console_data import browser_of, make_member
from tests.support.people.every_page import World, make_world, pages

# Of the data of the scene's events, and of what an endpoint answered to one.
SECRETS = ("cus_42", "Wien", "B-2", "Sorry")
HOW = "A superuser can grant you the permission"


@pytest.fixture
def world(tenant: Tenant) -> World:
    return make_world(tenant)


def staff(*groups: str, permissions: tuple[str, ...] = ()) -> User:
    user: User = UserFactory.create(is_staff=True)
    user.groups.set(Group.objects.filter(name__in=groups))
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def body_of(answer: Any) -> str:
    parts = answer.streaming_content if answer.streaming else [answer.content]
    return b"".join(parts).decode()


@pytest.mark.slow
@pytest.mark.parametrize("group", ["", OPERATOR])
def test_no_page_shows_the_data_without_the_permission(world: World, group: str) -> None:
    """Every page of the console and the admin, also for whoever may do all the rest."""
    Group.objects.get(name=OPERATOR).permissions.remove(*Permission.objects.filter(codename="view_payload"))
    reading = ("view_event", "view_delivery", "view_subscription", "view_eventtype", "view_processingfailure")
    browser = browser_of(staff(group, permissions=reading))
    parts = ("events/{event_id}/raw", "live/stream", "exports/{export_id}/download", "start/status")
    beside = [(part, world.home + part.format(**world.ids)) for part in parts]
    seen = 0
    for name, path in [*pages(world, "console"), *pages(world, "admin"), *beside]:
        answer = browser.get(path)
        shown = body_of(answer)
        assert not [secret for secret in SECRETS if secret in shown], name
        seen += answer.status_code == 200
    assert seen > 30


def event_page(world: World, browser: Client) -> str:
    return browser.get(f"{world.home}events/{world.scene.event_id}/").content.decode()


def test_a_fresh_staff_account_sees_the_event_and_how_to_see_its_data(world: World) -> None:
    looker = browser_of(staff())
    page = event_page(world, looker)
    assert "inv_last" in page
    assert HOW in page
    raw = looker.get(f"{world.home}events/{world.scene.event_id}/raw")
    assert raw.status_code == 403
    assert HOW in raw.content.decode()


@pytest.mark.parametrize("group", [SUPPORT, OPERATOR])
def test_the_platforms_groups_see_the_data(world: World, group: str) -> None:
    assert VIEW_PAYLOAD in GROUPS[group]
    browser = browser_of(staff(group))
    assert "cus_42" in event_page(world, browser)
    assert "cus_42" in browser.get(f"/admin/ingestion/event/{world.scene.event_id}/change/").content.decode()


def test_the_permission_alone_and_superusers_and_members_do(world: World) -> None:
    superuser = UserFactory.create(is_staff=True, is_superuser=True)
    viewer = make_member(world.scene.organization, Role.VIEWER)
    for person in (staff(permissions=("view_payload",)), superuser, viewer):
        page = event_page(world, browser_of(person))
        assert "cus_42" in page
        assert HOW not in page


def test_staff_reads_the_data_of_an_organization_that_it_is_a_member_of(world: World) -> None:
    person = staff()
    world.scene.organization.memberships.create(user=person, role=Role.VIEWER)
    assert "cus_42" in event_page(world, browser_of(person))


def test_a_search_in_the_data_tells_nothing(world: World) -> None:
    looker = browser_of(staff())
    listed = f"{world.home}events/?path=customer.id&value="
    pages = [looker.get(listed + value).content.decode() for value in ("cus_42", "cus_43")]
    assert [page.count("data-row") for page in pages] == [pages[0].count("data-row")] * 2
    assert all("or search in it" in page for page in pages)
    assert "Path in the data" not in looker.get(f"{world.home}events/").content.decode()


def test_exports_need_the_permission_too(world: World) -> None:
    Group.objects.get(name=OPERATOR).permissions.remove(*Permission.objects.filter(codename="view_payload"))
    operator = browser_of(staff(OPERATOR))
    done = Export.objects.get(status="done")
    download = f"{world.home}exports/{done.pk}/download?key={download_token(done)}"
    assert operator.get(f"{world.home}exports/").status_code == 200
    assert operator.get(download).status_code == 403
    assert operator.post(f"{world.home}exports/new", {"format": "csv"}).status_code == 403
    assert "Download" not in operator.get(f"{world.home}exports/{done.pk}/").content.decode()


def test_the_admin_says_how_to_see_the_data(world: World) -> None:
    browser = browser_of(staff(permissions=("view_event",)))
    page = browser.get(f"/admin/ingestion/event/{world.scene.event_id}/change/").content.decode()
    assert "inv_last" in page
    assert HOW in page
    assert "cus_42" not in page


def test_an_organization_of_ones_own_gives_no_right_elsewhere(world: World) -> None:
    person = make_member(make_organization(), Role.OWNER)
    person.is_staff = True
    person.save()
    assert HOW in event_page(world, browser_of(person))
