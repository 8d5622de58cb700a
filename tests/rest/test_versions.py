"""Nobody undoes a change unseen: ETag and If-Match in the API, a hidden version in the forms of console and admin."""

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.test import Client, RequestFactory

from console.manage_urls import of_organization
from delivery.api import subscriptions as views
from delivery.endpoints.sealed_headers import open_headers
from delivery.models import Subscription
from delivery.operations import SubscriptionChanges, subscription_fields, update_subscription
from delivery.queries import own_subscription
from delivery.webhooks import guard
from ingestion.models import EventType
from organizations.models import Membership, Organization, Role
from organizations.operations import change_role, update_organization
from organizations.versioned_admin import VersionedAdmin
from rest.versions import changed_since, version_of
from tests.conftest import Tenant
from tests.factories import TESTER, UserFactory
from tests.support.people.console_data import browser_of, make_member
from tests.support.people.every_page import PARAMETER

SUBSCRIPTIONS, TYPES = "/api/v1/subscriptions", "/api/v1/event-types"
SCHEMA = {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}}


@pytest.fixture(autouse=True)
def _no_name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_fields, "check_destination", guard.check_url)


def webhook(tenant: Tenant) -> str:
    """The path of a new one."""
    body = {"kind": "webhook", "url": "https://example.com/hook", "headers": {"X-Token": "s3cr3t-t0ken-of-mine"}}
    made = tenant.post(SUBSCRIPTIONS, body)
    assert made.status_code == 201
    return f"{SUBSCRIPTIONS}/{made.json()['id']}"


def event_type(tenant: Tenant) -> str:
    made = tenant.post(TYPES, {"name": "invoice.paid", "schema": SCHEMA, "validation": "warn"})
    assert made.status_code == 201
    return f"{TYPES}/invoice.paid"


MAKERS = [webhook, event_type]
Maker = Callable[[Tenant], str]


def described(text: str) -> dict[str, str]:
    return {"description": text}


# --- The API ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", MAKERS)
def test_a_change_of_an_older_version_is_refused(tenant: Tenant, make: Maker) -> None:
    path = make(tenant)
    opened = tenant.get(path)["ETag"]
    mine = tenant.request("PATCH", path, described("Mine."), **{"If-Match": opened})
    assert mine.status_code == 200
    assert mine["ETag"] == tenant.get(path)["ETag"] != opened
    late = tenant.request("PATCH", path, described("Late."), **{"If-Match": opened})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert [error["pointer"] for error in late.json()["errors"]] == ["/description"]
    assert late["ETag"] == mine["ETag"]
    assert tenant.get(path).json()["description"] == "Mine."
    assert tenant.request("DELETE", path, **{"If-Match": opened}).status_code == 412
    assert tenant.request("DELETE", path, **{"If-Match": late["ETag"]}).status_code == 204


@pytest.mark.parametrize("make", MAKERS)
def test_without_a_version_the_change_is_made_whatever_there_is(tenant: Tenant, make: Maker) -> None:
    path = make(tenant)
    opened = tenant.get(path)["ETag"]
    for number, headers in enumerate([{}, {"If-Match": "*"}]):
        assert tenant.request("PATCH", path, described(f"{number}"), **headers).status_code == 200
    assert tenant.get(path)["ETag"] != opened


@pytest.mark.parametrize("form", ["W/{}", '"other", {}', "{} , {}"])
def test_one_of_several_versions_and_a_weak_one_do(tenant: Tenant, form: str) -> None:
    """Proxies that compress answers make tags weak."""
    path = webhook(tenant)
    tag = tenant.get(path)["ETag"]
    headers = {"If-Match": form.replace("{}", tag)}
    assert tenant.request("PATCH", path, described("New."), **headers).status_code == 200


@pytest.mark.parametrize("given", ["nothing", '"', "", '"short"', "W/x", '"' + "A" * 8000 + '"'])
def test_what_is_no_version_is_refused(tenant: Tenant, given: str) -> None:
    path = webhook(tenant)
    answer = tenant.request("PATCH", path, described("New."), **{"If-Match": given})
    assert (answer.status_code, answer.json().get("errors", [])) == (412, [])


def test_what_comes_between_the_look_and_the_change_is_noticed(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is compared where the row is locked, not where it was read."""
    path = webhook(tenant)
    opened = tenant.get(path)["ETag"]

    def look_and_be_overtaken(*arguments: Any) -> Subscription:
        found = own_subscription(*arguments)
        update_subscription(subscription=found, changes=SubscriptionChanges(name="Theirs"), actor=TESTER)
        return found

    monkeypatch.setattr(views, "own_subscription", look_and_be_overtaken)
    late = tenant.request("PATCH", path, {"name": "Mine"}, **{"If-Match": opened})
    assert late.status_code == 412
    assert [error["pointer"] for error in late.json()["errors"]] == ["/name"]


def test_a_version_is_of_what_can_be_changed_alone(tenant: Tenant) -> None:
    """What a subscription goes through by itself is no reason to refuse a change."""
    path = webhook(tenant)
    opened = tenant.get(path)["ETag"]
    Subscription.objects.update(failures=3, last_error="timeout")
    assert tenant.post(f"{path}/pause")["ETag"] == opened
    assert tenant.post(f"{path}/resume")["ETag"] == opened
    token = {"headers": {"X-Token": "another-t0ken-of-mine"}}
    assert tenant.request("PATCH", path, token)["ETag"] != opened


def test_of_two_versions_one_can_tell_which_fields_differ() -> None:
    opened = version_of({"a": 1, "b": [1, 2], "c": None})
    assert changed_since(opened, {"a": 1, "b": [2, 1], "c": ""}) == ["b", "c"]
    assert changed_since(opened, {"a": True, "b": [1, 2], "c": None}) == ["a"]
    assert changed_since(opened, {"a": 1, "b": [1, 2]}) == []


# --- The console -----------------------------------------------------------------------------------------------------


def form_of(answer: Any) -> dict[str, str]:
    """What the form of a page would send as it is."""
    page = answer.content.decode().partition("<main")[2]
    fields = re.findall(r'<input[^>]* name="([a-z_]+)"[^>]* value="([^"]*)"', page)
    texts = re.findall(r'<textarea[^>]* name="([a-z_]+)"[^>]*>\s?([^<]*)</textarea>', page)
    chosen = re.findall(r'<input[^>]* name="([a-z_]+)" value="([^"]*)"[^>]* checked', page)
    found = {name: html.unescape(value) for name, value in [*fields, *texts, *chosen]}
    found.pop("csrfmiddlewaretoken")
    return found


@pytest.fixture
def member(tenant: Tenant) -> Client:
    return browser_of(make_member(tenant.organization, Role.OWNER))


def home(tenant: Tenant) -> str:
    return f"/console/o/{tenant.organization.slug}/"


def test_an_edit_form_reverts_nobodys_change(tenant: Tenant, member: Client) -> None:
    api = webhook(tenant)
    path = f"{home(tenant)}subscriptions/{api.rpartition('/')[2]}/edit"
    form = form_of(member.get(path))
    theirs = {"description": "Theirs.", "event_types": ["order.*"]}
    assert tenant.request("PATCH", api, theirs).status_code == 200
    answer = member.post(path, {**form, "name": "Mine", "description": "Mine, too."})
    page = answer.content.decode()
    assert answer.status_code == 412
    assert "Nothing was saved" in page
    assert "Description is now, while the form has what you typed" in page
    assert "Event types is now" in page
    assert "Theirs." in page
    assert tenant.get(api).json()["name"] == ""

    again = form_of(answer)
    assert again == {**again, "name": "Mine", "description": "Mine, too.", "event_types": "order.*"}
    assert again["version"] != form["version"]
    assert member.post(path, again).status_code == 302
    found = Subscription.objects.get(pk=api.rpartition("/")[2])
    assert (found.name, found.description, found.event_types) == ("Mine", "Mine, too.", ["order.*"])
    assert open_headers(found.headers) == {"X-Token": "s3cr3t-t0ken-of-mine"}


def test_a_form_that_nobody_overtook_is_saved(tenant: Tenant, member: Client) -> None:
    for api, path in ((webhook(tenant), "subscriptions/{}/edit"), (event_type(tenant), "event-types/{}/edit")):
        found = EventType.objects.get().pk if "event-types" in path else api.rpartition("/")[2]
        edit = home(tenant) + path.format(found)
        form = form_of(member.get(edit))
        assert member.post(edit, {**form, "description": "New."}).status_code == 302
        assert tenant.get(api).json()["description"] == "New."


def test_a_correction_keeps_the_version_that_was_opened(tenant: Tenant, member: Client) -> None:
    """A form that comes back for a wrong field has not shown what changed meanwhile."""
    api = webhook(tenant)
    path = f"{home(tenant)}subscriptions/{api.rpartition('/')[2]}/edit"
    form = form_of(member.get(path))
    tenant.request("PATCH", api, described("Theirs."))
    wrong = member.post(path, {**form, "filter": "{"})
    assert wrong.status_code == 422
    assert form_of(wrong)["version"] == form["version"]
    assert member.post(path, form).status_code == 412


def test_an_event_types_form_reverts_nobodys_schema(tenant: Tenant, member: Client) -> None:
    api = event_type(tenant)
    path = f"{home(tenant)}event-types/{EventType.objects.get().pk}/edit"
    form = form_of(member.get(path))
    tenant.request("PATCH", api, {"schema": {"type": "object"}, "validation": "reject"})
    answer = member.post(path, {**form, "description": "Mine."})
    assert answer.status_code == 412
    again = form_of(answer)
    assert (again["description"], again["validation"]) == ("Mine.", "reject")
    assert "amount" not in again["schema"]
    assert member.post(path, again).status_code == 302
    shown = tenant.get(api).json()
    assert (shown["description"], shown["schema"], shown["validation"]) == ("Mine.", {"type": "object"}, "reject")


def test_a_role_that_was_changed_meanwhile_stays(tenant: Tenant, member: Client) -> None:
    person = make_member(tenant.organization, Role.VIEWER)
    membership = Membership.objects.get(user=person)
    path = f"{home(tenant)}members/"
    page = member.get(path).content.decode()
    form = page.partition(f"members/{membership.pk}/role")[2]
    version = re.search(r'name="version" value="([^"]+)"', form)
    assert version is not None
    change_role(membership=membership, role=Role.ADMIN, actor=TESTER)
    sent = {"role": "member", "version": version[1]}
    told = member.post(f"{path}{membership.pk}/role", sent, follow=True).content.decode()
    assert "It is now admin, and was left as it is" in told
    membership.refresh_from_db()
    assert membership.role == Role.ADMIN


def test_every_edit_form_carries_a_version(tenant: Tenant, member: Client) -> None:
    ids = {"subscription_id": webhook(tenant).rpartition("/")[2]}
    event_type(tenant)
    ids["type_id"] = str(EventType.objects.get().pk)
    edits = [str(each.pattern) for each in of_organization if (each.name or "").startswith("edit-")]
    assert len(edits) >= 2
    for route in edits:
        page = member.get(home(tenant) + PARAMETER.sub(lambda found: ids[found[1]], route)).content.decode()
        assert re.search(r'name="version" value="[\w-]{16,}"', page), route


# --- The admin -------------------------------------------------------------------------------------------------------


@pytest.fixture
def superuser(db: None) -> Client:
    return browser_of(UserFactory.create(is_staff=True, is_superuser=True))


def admin_form(browser: Client, path: str) -> dict[str, Any]:
    context = browser.get(path).context
    form = context["adminform"].form
    values = {name: form[name].value() for name in form.fields}
    found = {name: value for name, value in values.items() if value not in (None, False)}
    return {**found, "version": context["version"]}


def test_an_organizations_form_in_the_admin_reverts_nobodys_change(tenant: Tenant, superuser: Client) -> None:
    organization = tenant.organization
    path = f"/admin/organizations/organization/{organization.pk}/change/"
    form = admin_form(superuser, path)
    update_organization(
        organization=organization, changes={"plan": "pro", "events_per_minute_override": 7}, actor=TESTER
    )
    answer = superuser.post(path, {**form, "name": "Mine"})
    page = html.unescape(answer.content.decode())
    assert answer.status_code == 200
    assert "Nothing was saved" in page
    assert "Plan is now “pro”" in page
    organization.refresh_from_db()
    assert (organization.plan, organization.name == "Mine") == ("pro", False)
    shown = answer.context["adminform"].form
    assert (shown["plan"].value(), shown["name"].value()) == ("pro", "Mine")
    again = {name: shown[name].value() or "" for name in shown.fields} | {"version": answer.context["version"]}
    assert superuser.post(path, again).status_code == 302
    organization = Organization.objects.get(pk=organization.pk)
    assert (organization.name, organization.plan, organization.events_per_minute_override) == ("Mine", "pro", 7)


def test_a_members_form_in_the_admin_reverts_nobodys_change(tenant: Tenant, superuser: Client) -> None:
    make_member(tenant.organization, Role.VIEWER)
    membership = Membership.objects.get()
    path = f"/admin/organizations/membership/{membership.pk}/change/"
    form = admin_form(superuser, path)
    change_role(membership=membership, role=Role.OWNER, actor=TESTER)
    assert "Nothing was saved" in superuser.post(path, form).content.decode()
    membership.refresh_from_db()
    assert membership.role == Role.OWNER
    assert superuser.post(path, {**admin_form(superuser, path), "role": "admin"}).status_code == 302


def test_staff_status_that_was_taken_is_not_given_back_by_an_old_form(superuser: Client) -> None:
    person = UserFactory.create(is_staff=True, email="ada@example.com")
    path = f"/admin/auth/user/{person.pk}/change/"
    form = admin_form(superuser, path)
    form |= {"date_joined_0": f"{person.date_joined:%Y-%m-%d}", "date_joined_1": f"{person.date_joined:%H:%M:%S}"}
    person.is_staff = False
    person.save()
    answer = superuser.post(path, {**form, "first_name": "Ada"})
    assert answer.status_code == 200
    assert "Staff status is now “False”" in html.unescape(answer.content.decode())
    person.refresh_from_db()
    assert (person.is_staff, person.first_name) == (False, "")
    shown = answer.context["adminform"].form
    assert (bool(shown["is_staff"].value()), shown["first_name"].value()) == (False, "Ada")


def test_a_right_that_was_taken_from_a_group_is_not_given_back_by_an_old_form(superuser: Client) -> None:
    group = Group.objects.create(name="auditors")
    taken = Permission.objects.get(codename="view_payload")
    group.permissions.set([taken, Permission.objects.get(codename="view_event")])
    path = f"/admin/auth/group/{group.pk}/change/"
    form = admin_form(superuser, path)
    group.permissions.remove(taken)
    assert "Nothing was saved" in superuser.post(path, {**form, "name": "readers"}).content.decode()
    assert Group.objects.get(pk=group.pk).name == "auditors"
    assert superuser.post(path, {**admin_form(superuser, path), "name": "readers"}).status_code == 302
    assert Group.objects.get(pk=group.pk).name == "readers"
    assert list(group.permissions.values_list("codename", flat=True)) == ["view_event"]


def test_every_form_of_the_admin_that_changes_something_carries_a_version(rf: RequestFactory) -> None:
    request = rf.get("/")
    request.user = User(is_superuser=True, is_active=True)
    changing = [each for each in admin.site._registry.values() if each.has_change_permission(request)]
    assert len(changing) >= 4
    assert [each for each in changing if not isinstance(each, VersionedAdmin)] == []
