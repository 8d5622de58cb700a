"""Who may see and do what in the console."""

import re
from itertools import pairwise

import pytest
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from console.access import OPERATORS, Action, organization_for, require, resolve, roles_with
from organizations.models import Organization, Role
from tests.conftest import Tenant
from tests.factories import UserFactory, make_organization
from tests.support.people.console_data import Scene, browser_of, make_member, make_scene

pytestmark = pytest.mark.slow

NOBODY = "01900000-0000-7000-8000-000000000000"
WRITING = ["events/{event}/replay", "events/{event}/cancel", "deliveries/{delivery}/retry"]


@pytest.fixture
def scene(tenant: Tenant) -> Scene:
    return make_scene(tenant)


def organization_routes() -> list[str]:
    """Every route below `/console/o/<slug>/`, as its pattern; new ones are covered by being in the URLconf."""
    found: list[str] = []

    def walk(patterns: list[URLPattern | URLResolver], prefix: str) -> None:
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                walk(pattern.url_patterns, route)
            elif route.startswith("console/o/<slug:slug>/"):
                found.append(route)

    walk(get_resolver().url_patterns, "")
    return sorted(found)


def path_of(route: str, scene: Scene, view_id: int = 1) -> str:
    parts = {
        "<slug:slug>": scene.organization.slug,
        "<uuid:event_id>": scene.event_id,
        "<uuid:delivery_id>": str(scene.dead.pk),
        "<int:view_id>": str(view_id),
    }
    for name, value in parts.items():
        route = route.replace(name, value)
    # Routes with other objects: an id of nobody.
    return "/" + re.sub(r"<(\w+):\w+>", lambda kind: "1" if kind[1] == "int" else NOBODY, route)


@pytest.mark.parametrize("route", organization_routes())
def test_a_member_of_another_organization_finds_nothing(scene: Scene, route: str) -> None:
    other = browser_of(make_member(make_organization()))
    for method in ("GET", "POST"):
        answer = other.generic(method, path_of(route, scene))
        assert answer.status_code in {404, 405}
        assert scene.organization.name not in answer.content.decode()
        assert "inv_" not in answer.content.decode()


@pytest.mark.parametrize("route", organization_routes())
def test_a_stranger_is_led_to_the_sign_in(scene: Scene, route: str) -> None:
    for method in ("GET", "POST"):
        answer = Client().generic(method, path_of(route, scene))
        assert answer.status_code == 405 or answer["Location"].startswith("/console/sign-in/?next=/console/o/")


def test_an_event_of_another_organization_is_not_found_in_ones_own(scene: Scene) -> None:
    own = make_organization()
    client = browser_of(make_member(own))
    prefix = f"/console/o/{own.slug}"
    assert client.get(f"{prefix}/events/{scene.event_id}/").status_code == 404
    assert client.get(f"{prefix}/events/{scene.event_id}/raw").status_code == 404
    assert client.post(f"{prefix}/deliveries/{scene.dead.pk}/retry").status_code == 404
    sent = {"subscription": str(scene.webhook.pk)}
    assert client.post(f"{prefix}/events/{scene.event_id}/replay", sent).status_code == 404


@pytest.mark.parametrize("path", WRITING)
def test_a_viewer_changes_nothing_and_sees_no_button(scene: Scene, path: str) -> None:
    viewer = browser_of(make_member(scene.organization, Role.VIEWER))
    home = f"/console/o/{scene.organization.slug}/"
    refused = viewer.post(home + path.format(event=scene.event_id, delivery=scene.dead.pk))
    assert refused.status_code == 403
    assert "owner" in refused.content.decode()
    page = viewer.get(f"{home}events/{scene.event_id}/").content.decode()
    assert '/retry"' not in page
    assert '/replay"' not in page
    scene.dead.refresh_from_db()
    assert scene.dead.status == "dead_letter"


@pytest.mark.parametrize("path", ["/console/events/", "/console/live/", "/console/live/stream"])
def test_everybodys_pages_are_for_staff(scene: Scene, path: str) -> None:
    member = browser_of(make_member(make_organization()))
    assert member.get(path)["Location"] == "/console/"
    assert scene.organization.name not in member.get(path, follow=True).content.decode()


def test_htmx_is_led_to_the_sign_in_with_the_whole_window(scene: Scene) -> None:
    here = f"http://testserver/console/o/{scene.organization.slug}/live/"
    headers = {"HX-Request": "true", "HX-Current-URL": here}
    answer = Client().get(f"/console/o/{scene.organization.slug}/start/status", headers=headers)
    assert answer.status_code == 403
    assert answer["HX-Redirect"] == f"/console/sign-in/?next=%2Fconsole%2Fo%2F{scene.organization.slug}%2Flive%2F"


def test_a_stream_is_refused_without_a_redirect_that_would_be_followed(scene: Scene) -> None:
    answer = Client().get(f"/console/o/{scene.organization.slug}/live/stream", headers={"Accept": "text/event-stream"})
    assert answer.status_code == 403
    assert scene.event_id not in answer.content.decode()


def test_forms_need_their_token(scene: Scene) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_member(scene.organization), backend="django.contrib.auth.backends.ModelBackend")
    assert client.post(f"/console/o/{scene.organization.slug}/views/save", {"name": "x"}).status_code == 403


# --- The switcher -----------------------------------------------------------------------------------------------------


def test_home_leads_to_the_last_organization(scene: Scene) -> None:
    user = make_member(scene.organization)
    other = make_organization()
    scene.organization.memberships.create(user=UserFactory.create())
    other.memberships.create(user=user)
    client = browser_of(user)
    assert client.get("/console/")["Location"] == "/console/organizations/"
    client.get(f"/console/o/{other.slug}/events/")
    assert client.get("/console/")["Location"] == f"/console/o/{other.slug}/"
    other.memberships.all().delete()
    assert client.get("/console/")["Location"] == f"/console/o/{scene.organization.slug}/"


def test_only_ones_own_organizations_are_listed_and_found(scene: Scene) -> None:
    own = make_organization(name="Own Ltd")
    client = browser_of(make_member(own))
    assert scene.organization.name not in client.get("/console/organizations/").content.decode()
    found = client.get(f"/console/organizations/?q={scene.organization.name}").content.decode()
    assert scene.organization.slug not in found
    assert "Own Ltd" in client.get("/console/organizations/?q=own").content.decode()


def test_who_is_in_no_organization_is_told_whom_to_ask(db: None) -> None:
    page = browser_of(UserFactory.create()).get("/console/", follow=True).content.decode()
    assert "You are not a member of any organization yet" in page


def test_staff_find_every_organization(scene: Scene) -> None:
    for number in range(60):
        make_organization(name=f"Many {number:02}")
    staff = browser_of(UserFactory.create(is_staff=True))
    assert "to find the others" in staff.get("/console/organizations/").content.decode()
    assert "Many 59" in staff.get("/console/organizations/?q=many 59").content.decode()
    assert staff.get(f"/console/o/{scene.organization.slug}/").status_code == 200


# --- The decision itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "allowed", "refused"),
    [
        (Role.VIEWER, Action.SEE_EVENTS, Action.RETRY_DELIVERIES),
        (Role.VIEWER, Action.SAVE_VIEWS, Action.SEE_KEYS),
        (Role.MEMBER, Action.REPLAY_EVENTS, Action.MANAGE_KEYS),
        (Role.ADMIN, Action.MANAGE_MEMBERS, Action.MANAGE_OWNERS),
        (Role.OWNER, Action.MANAGE_OWNERS, None),
    ],
)
def test_roles_may_more_and_more(db: None, role: Role, allowed: Action, refused: Action | None) -> None:
    organization = make_organization()
    user = make_member(organization, role)
    require(user, organization, allowed)
    if refused:
        with pytest.raises(PermissionDenied):
            require(user, organization, refused)
        assert role not in roles_with(refused)
    assert organization_for(user, organization.slug) == organization


def test_each_role_includes_the_one_below(db: None) -> None:
    organization = make_organization()
    actions = [resolve(make_member(organization, role), organization.slug).actions for role in reversed(Role)]
    assert all(lower < higher for lower, higher in pairwise(actions))


def staff_with(*, group: str = "", is_superuser: bool = False) -> tuple[User, Organization]:
    user: User = UserFactory.create(is_staff=True, is_superuser=is_superuser)
    if group:
        user.groups.add(Group.objects.get_or_create(name=group)[0])
    return user, make_organization()


def test_staff_see_operators_act_and_superusers_do_everything(db: None) -> None:
    looker, somewhere = staff_with()
    assert not resolve(looker, somewhere.slug).may(Action.RETRY_DELIVERIES)
    assert resolve(looker, somewhere.slug).may(Action.SEE_AUDIT)
    operator, _ = staff_with(group=OPERATORS)
    assert resolve(operator, somewhere.slug).may(Action.RETRY_DELIVERIES)
    assert not resolve(operator, somewhere.slug).may(Action.MANAGE_OWNERS)
    superuser, _ = staff_with(is_superuser=True)
    assert resolve(superuser, somewhere.slug).may(Action.MANAGE_OWNERS)


def test_a_stranger_gets_a_404_for_every_slug(db: None) -> None:
    organization = make_organization()
    for slug in (organization.slug, "none"):
        with pytest.raises(Http404):
            organization_for(UserFactory.create(), slug)
