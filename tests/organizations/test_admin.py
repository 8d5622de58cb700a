"""The admin: who may do what, and what each page does."""

import html
import logging
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.groups import GROUPS, OPERATOR, SUPPORT
from delivery.dead_letter_sides import Fault, side_of
from delivery.models import Delivery, DeliveryStatus, Subscription, SubscriptionKind, SubscriptionStatus
from ingestion.models import OutboxEntry, ProcessingFailure
from organizations.models import ApiKey, AuditEntry, Membership, Organization
from tests import factories
from tests.factories import UserFactory, make_events, make_key, make_organization
from tests.support.people.people_browser import needs_chromium, open_tab

KEYS = "/admin/organizations/apikey/"
DELIVERIES = "/admin/delivery/delivery/"
SUBSCRIPTIONS = "/admin/delivery/subscription/"
FAILURES = "/admin/ingestion/processingfailure/"


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def staff(group: str) -> Client:
    user = UserFactory.create(is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    return signed_in(user)


@pytest.fixture
def support(db: None) -> Client:
    return staff(SUPPORT)


@pytest.fixture
def operator(db: None) -> Client:
    return staff(OPERATOR)


@pytest.fixture
def superuser(db: None) -> Client:
    return signed_in(User.objects.create_superuser("casey"))


@pytest.fixture
def organization(db: None) -> Organization:
    return make_organization()


@pytest.fixture
def hook(organization: Organization) -> Subscription:
    return make_hook(organization)


def make_hook(organization: Organization, **values: Any) -> Subscription:
    url = f"https://hooks.example.com/{uuid7()}"
    return Subscription.objects.create(organization=organization, kind=SubscriptionKind.WEBHOOK, url=url, **values)


def make_delivery(hook: Subscription, status: str = DeliveryStatus.DEAD_LETTER, **values: Any) -> Delivery:
    return Delivery.objects.create(
        id=uuid7(),
        organization=hook.organization,
        subscription=hook,
        event_id=uuid7(),
        status=status,
        created_at=timezone.now(),
        **values,
    )


def make_failure(organization: Organization) -> ProcessingFailure:
    return ProcessingFailure.objects.create(
        event_id=uuid7(), organization=organization, error="boom", attempts=8, failed_at=timezone.now()
    )


# --- Who may what ----------------------------------------------------------------------------------------------


def act(client: Client, path: str, action: str, pk: object) -> Any:
    return client.post(path, {"action": action, "_selected_action": [str(pk)]})


def revoke_by_action(client: Client, organization: Organization) -> Callable[[], bool]:
    key, _ = make_key(organization)
    act(client, KEYS, "revoke", key.pk)
    return lambda: ApiKey.objects.get(pk=key.pk).revoked_at is not None


def revoke_by_page(client: Client, organization: Organization) -> Callable[[], bool]:
    key, _ = make_key(organization)
    client.post(f"{KEYS}{key.pk}/revoke/")
    return lambda: ApiKey.objects.get(pk=key.pk).revoked_at is not None


def rotate(client: Client, organization: Organization) -> Callable[[], bool]:
    key, _ = make_key(organization)
    act(client, KEYS, "rotate", key.pk)
    return lambda: ApiKey.objects.filter(organization=organization).count() == 2


def issue(client: Client, organization: Organization) -> Callable[[], bool]:
    form = {"organization": str(organization.pk), "name": "Billing", "scopes": ["events:write"]}
    client.post(f"{KEYS}add/", form)
    return lambda: ApiKey.objects.filter(organization=organization).exists()


def suspend(client: Client, organization: Organization) -> Callable[[], bool]:
    client.post(f"/admin/organizations/organization/{organization.pk}/suspend/", {"reason": "unpaid"})
    return lambda: Organization.objects.get(pk=organization.pk).suspended_reason == "unpaid"


def resume(client: Client, organization: Organization) -> Callable[[], bool]:
    Organization.objects.update(suspended_at=timezone.now(), suspended_reason="unpaid")
    client.post(f"/admin/organizations/organization/{organization.pk}/resume/")
    return lambda: Organization.objects.get(pk=organization.pk).suspended_at is None


def pause_subscription(client: Client, organization: Organization) -> Callable[[], bool]:
    hook = make_hook(organization)
    act(client, SUBSCRIPTIONS, "pause", hook.pk)
    return lambda: Subscription.objects.get(pk=hook.pk).status == SubscriptionStatus.PAUSED


def resume_subscription(client: Client, organization: Organization) -> Callable[[], bool]:
    hook = make_hook(organization, status=SubscriptionStatus.DISABLED)
    act(client, SUBSCRIPTIONS, "resume", hook.pk)
    return lambda: Subscription.objects.get(pk=hook.pk).status == SubscriptionStatus.ACTIVE


def retry_selected(client: Client, organization: Organization) -> Callable[[], bool]:
    delivery = make_delivery(make_hook(organization))
    act(client, DELIVERIES, "retry", delivery.pk)
    return lambda: Delivery.objects.get(pk=delivery.pk).status == DeliveryStatus.PENDING


def retry_all(client: Client, organization: Organization) -> Callable[[], bool]:
    hook = make_hook(organization)
    make_delivery(hook)
    client.post(f"{DELIVERIES}retry-all/{hook.pk}/")
    return lambda: not Delivery.objects.filter(status=DeliveryStatus.DEAD_LETTER).exists()


def requeue_failure(client: Client, organization: Organization) -> Callable[[], bool]:
    failure = make_failure(organization)
    act(client, FAILURES, "requeue", failure.pk)
    return lambda: ProcessingFailure.objects.get(pk=failure.pk).next_attempt_at is not None


ACTS = [
    revoke_by_action, revoke_by_page, rotate, issue, suspend, resume, pause_subscription, resume_subscription,
    retry_selected, retry_all, requeue_failure,
]  # fmt: skip


def change_plan(client: Client, organization: Organization) -> Callable[[], bool]:
    form = {"name": organization.name, "slug": organization.slug, "plan": "pro"}
    client.post(f"/admin/organizations/organization/{organization.pk}/change/", form)
    return lambda: Organization.objects.get(pk=organization.pk).plan == "pro"


def add_member(client: Client, organization: Organization) -> Callable[[], bool]:
    form = {"organization": str(organization.pk), "user": UserFactory.create().pk, "role": "owner"}
    client.post("/admin/organizations/membership/add/", form)
    return Membership.objects.exists


def make_staff(client: Client, organization: Organization) -> Callable[[], bool]:
    form = {"username": "mallory", "usable_password": "false", "password1": "", "password2": ""}
    client.post("/admin/auth/user/add/", form)
    return lambda: User.objects.filter(username="mallory").exists()


ADMINISTERS = [change_plan, add_member, make_staff]


@pytest.mark.parametrize("action", ACTS)
@pytest.mark.parametrize("who", ["support", "operator", "superuser", "stranger", "nobody"])
def test_operators_act_and_support_and_strangers_do_not(
    request: pytest.FixtureRequest, organization: Organization, action: Any, who: str
) -> None:
    clients = {"stranger": lambda: signed_in(UserFactory.create()), "nobody": Client}
    client = clients[who]() if who in clients else request.getfixturevalue(who)
    happened = action(client, organization)
    assert happened() is (who in {"operator", "superuser"})


@pytest.mark.parametrize("action", ADMINISTERS)
@pytest.mark.parametrize("who", ["support", "operator", "superuser"])
def test_only_superusers_administer(
    request: pytest.FixtureRequest, organization: Organization, action: Any, who: str
) -> None:
    assert action(request.getfixturevalue(who), organization)() is (who == "superuser")


def test_the_groups_hold_exactly_what_is_written(db: None) -> None:
    for name, wanted in GROUPS.items():
        held = Group.objects.get(name=name).permissions.values_list("content_type__app_label", "codename")
        assert {f"{app}.{codename}" for app, codename in held} == set(wanted)


READABLE = [
    "/admin/", "/admin/organizations/organization/", "/admin/organizations/membership/", KEYS, f"{KEYS}find/",
    "/admin/organizations/auditentry/", "/admin/ingestion/event/", "/admin/ingestion/eventtype/", FAILURES,
    SUBSCRIPTIONS, DELIVERIES, f"{DELIVERIES}dead-letters/", "/admin/portal/portallink/",
    "/admin/portal/portalappearance/",
]  # fmt: skip


@pytest.mark.parametrize("path", READABLE)
def test_support_reads_everything(support: Client, path: str) -> None:
    assert support.get(path).status_code == 200


@pytest.mark.parametrize("path", [*READABLE, f"{KEYS}find/", f"{DELIVERIES}dead-letters/"])
def test_members_of_organizations_see_nothing_of_the_admin(organization: Organization, path: str) -> None:
    owner = UserFactory.create()
    Membership.objects.create(organization=organization, user=owner, role="owner")
    assert signed_in(owner).get(path).status_code == 302


@pytest.mark.parametrize("path", ["/admin/auth/user/", "/admin/auth/group/"])
def test_accounts_are_the_superusers_business(operator: Client, superuser: Client, path: str) -> None:
    assert operator.get(path).status_code == 403
    assert superuser.get(path).status_code == 200


# --- A leaked key ----------------------------------------------------------------------------------------------


def test_a_leaked_key_is_found_in_what_was_pasted_and_revoked(operator: Client, organization: Organization) -> None:
    key, plaintext = make_key(organization)
    page = operator.post(f"{KEYS}find/", {"pasted": f"curl -H 'Authorization: Bearer {plaintext}'"}).content.decode()
    assert organization.name in page
    assert "active" in page
    assert f"{KEYS}{key.pk}/revoke/" in page
    operator.post(f"{KEYS}{key.pk}/revoke/")
    again = operator.post(f"{KEYS}find/", {"pasted": plaintext}).content.decode()
    assert "revoked" in again
    assert f"{KEYS}{key.pk}/revoke/" not in again


def test_support_finds_a_key_but_is_offered_no_revocation(support: Client, organization: Organization) -> None:
    _, plaintext = make_key(organization)
    page = support.post(f"{KEYS}find/", {"pasted": plaintext}).content.decode()
    assert organization.name in page
    assert "/revoke/" not in page


def test_mistyped_unknown_and_no_key_are_told_apart(operator: Client, organization: Organization) -> None:
    _, plaintext = make_key(organization)
    mistyped = plaintext[:-1] + ("0" if plaintext[-1] != "0" else "1")
    ApiKey.objects.all().delete()
    for pasted, said in [(mistyped, "checksum"), (plaintext[:-3], "checksum"), (plaintext, "no organization"),
                         ("hello", "no key in that text")]:  # fmt: skip
        assert said in operator.post(f"{KEYS}find/", {"pasted": pasted}).content.decode()


def test_a_plaintext_key_is_in_no_page_log_or_audit_entry(
    operator: Client, organization: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key, plaintext = make_key(organization)
    secret = plaintext[20:]
    page = operator.post(f"{KEYS}find/", {"pasted": plaintext})
    assert "no-store" in page["Cache-Control"]
    assert secret not in page.content.decode()
    assert secret not in caplog.text
    assert secret not in str(list(AuditEntry.objects.values()))
    entry = AuditEntry.objects.get(action="api_key.looked_up")
    assert entry.organization == organization
    assert entry.target_id == str(key.pk)


def test_looking_for_an_unknown_key_leaves_an_entry_too(operator: Client) -> None:
    operator.post(f"{KEYS}find/", {"pasted": "nothing"})
    assert AuditEntry.objects.get(action="api_key.looked_up").changes == {"outcome": "no_key"}


def test_the_search_of_the_list_takes_no_whole_key(operator: Client, organization: Organization) -> None:
    key, plaintext = make_key(organization)
    refused = operator.get(KEYS, {"q": plaintext})
    assert not list(refused.context["cl"].result_list)
    assert "Find a leaked key" in refused.content.decode()
    assert key.public_id in operator.get(KEYS, {"q": key.public_id}).content.decode()


def test_keys_are_filtered_by_state(operator: Client, organization: Organization) -> None:
    now = timezone.now()
    soon, _ = make_key(organization, expires_at=now + timedelta(days=3))
    lasting, _ = make_key(organization)
    past, _ = make_key(organization)
    ApiKey.objects.filter(pk=past.pk).update(expires_at=now - timedelta(days=1))
    shown = operator.get(KEYS, {"state": "expiring"}).content.decode()
    assert soon.public_id in shown
    assert lasting.public_id not in shown
    assert past.public_id in operator.get(KEYS, {"state": "expired"}).content.decode()
    assert past.public_id not in operator.get(KEYS, {"state": "active"}).content.decode()
    assert past.public_id not in operator.get(KEYS, {"state": "revoked"}).content.decode()


# --- The front page --------------------------------------------------------------------------------------------


def test_the_front_page_shows_what_needs_attention_with_links(
    support: Client, organization: Organization, django_assert_max_num_queries: Any
) -> None:
    now = timezone.now()
    hook = make_hook(organization, failing_since=now)
    make_hook(organization, status=SubscriptionStatus.DISABLED)
    for _ in range(3):
        make_delivery(hook, last_error="timeout")
    make_failure(organization)
    OutboxEntry.objects.create(id=uuid7(), event_ids=[uuid7()], created_at=now - timedelta(minutes=5))
    suspended = make_organization(suspended_at=now, suspended_reason="abuse")
    make_key(suspended, expires_at=now + timedelta(days=3))
    with django_assert_max_num_queries(16):
        page = support.get("/admin/")
    items = {item.label: item for item in page.context["attention"]}
    figures = [item.figure for item in items.values()]
    assert figures == ["1", "1", "3", "1", "5 min", "1", "1"]
    assert all(item.is_bad for item in items.values())
    for item in items.values():
        assert support.get(item.address).status_code == 200
    assert suspended.name in support.get("/admin/organizations/organization/?state=suspended").content.decode()


def test_the_front_page_is_calm_when_nothing_is_wrong(support: Client) -> None:
    assert not [item for item in support.get("/admin/").context["attention"] if item.is_bad]


# --- Organizations ---------------------------------------------------------------------------------------------


def test_an_organization_shows_limits_usage_and_its_lists(support: Client, organization: Organization) -> None:
    page = support.get(f"/admin/organizations/organization/{organization.pk}/change/").content.decode()
    assert "100 events a minute" in page
    assert "0 events in 24 hours" in page
    for name in ("organizations/membership", "organizations/apikey", "ingestion/event", "delivery/subscription"):
        assert f"/admin/{name}/?organization__id__exact={organization.pk}" in page
        assert support.get(f"/admin/{name}/?organization__id__exact={organization.pk}").status_code == 200
    assert "/suspend/" not in page


def test_a_suspension_needs_a_reason_and_is_written_down(operator: Client, organization: Organization) -> None:
    address = f"/admin/organizations/organization/{organization.pk}/suspend/"
    assert address in operator.get(f"/admin/organizations/organization/{organization.pk}/change/").content.decode()
    operator.post(address, {"reason": " "})
    organization.refresh_from_db()
    assert organization.suspended_at is None
    operator.post(address, {"reason": "Spam"})
    entry = AuditEntry.objects.get(action="organization.suspended")
    assert entry.changes == {"reason": "Spam"}


# --- Dead letters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "side"),
    [("http_error", Fault.THEIRS), ("max_leases", Fault.THEIRS), ("unsafe_address", Fault.OURS),
     ("event_gone", Fault.OURS), ("", Fault.OURS), ("something_new", Fault.OURS)],
)  # fmt: skip
def test_every_error_has_a_side_and_new_ones_are_ours(error: str, side: Fault) -> None:
    assert side_of(error) is side


def test_dead_letters_go_on_after_a_page(support: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("delivery.admin_queries.LISTED_SUBSCRIPTIONS", 2)
    # Not in the order in which they were made.
    hooks = [make_hook(make_organization(name=name)) for name in ("Zebra", "Ant", "Mole")]
    for hook in hooks:
        make_delivery(hook, last_error="timeout")
    page, shown = f"{DELIVERIES}dead-letters/", []
    for _ in range(2):
        answer = support.get(page)
        shown.append([row.organization_name for row in answer.context["listed"]])
        more = re.search(r'rel="next"\s+href="([^"]+)"', answer.content.decode())
        page = f"{DELIVERIES}dead-letters/{html.unescape(more[1])}" if more else ""
    assert (shown, page) == ([["Ant", "Mole"], ["Zebra"]], "")


def test_dead_letters_are_split_and_counted(support: Client, hook: Subscription) -> None:
    make_delivery(hook, last_error="event_gone")
    make_delivery(hook, last_error="timeout")
    make_delivery(hook, last_error="http_error")
    make_delivery(hook, DeliveryStatus.DELIVERED)
    (row,) = support.get(f"{DELIVERIES}dead-letters/").context["listed"]
    assert (row.ours, row.theirs) == (1, 2)
    other = make_organization()
    chosen = {"organization__id__exact": str(other.pk)}
    assert support.get(f"{DELIVERIES}dead-letters/", chosen).context["listed"] == []
    assert support.get(f"{DELIVERIES}dead-letters/", {"organization__id__exact": "x"}).status_code == 404


@pytest.mark.parametrize(
    ("query", "shown"),
    [("", {0, 1, 2, 3}), ("status=dead_letter", {0, 1, 3}), ("side=ours", {0}), ("side=theirs", {1, 3}),
     ("subscription={hook}", {0, 1, 2}), ("subscription={hook}&side=theirs", {1}),
     ("organization__id__exact={organization}&status=delivered", {2}), ("status=pending", set())],
)  # fmt: skip
def test_deliveries_are_filtered(support: Client, hook: Subscription, query: str, shown: set[int]) -> None:
    other = make_hook(make_organization())
    rows = [
        make_delivery(hook, last_error="event_gone"),
        make_delivery(hook, last_error="timeout"),
        make_delivery(hook, DeliveryStatus.DELIVERED),
        make_delivery(other, last_error="dns"),
    ]
    asked = query.format(hook=hook.pk, organization=hook.organization_id)
    listed = support.get(f"{DELIVERIES}?{asked}").context["cl"].result_list
    assert [row.pk for row in listed] == [rows[number].pk for number in sorted(shown, reverse=True)]


@pytest.mark.parametrize("query", ["", "status=dead_letter", "organization__id__exact={organization}"])
def test_pages_of_deliveries_hold_each_once(support: Client, hook: Subscription, query: str) -> None:
    made = {make_delivery(hook, last_error="timeout").pk for _ in range(120)}
    address, seen = f"{DELIVERIES}?{query.format(organization=hook.organization_id)}", list[UUID]()
    while True:
        changes = support.get(address).context["cl"]
        seen += [row.pk for row in changes.result_list]
        if changes.next_page is None:
            break
        address = DELIVERIES + changes.next_page
    assert len(seen) == 120
    assert set(seen) == made


@pytest.mark.parametrize("query", ["subscription=x", "organization__id__exact=x", "status=held", "side=x", "before=x"])
def test_nonsense_in_a_filter_is_no_fault(support: Client, hook: Subscription, query: str) -> None:
    make_delivery(hook)
    assert support.get(f"{DELIVERIES}?{query}").status_code in {200, 302}


def test_retrying_all_says_the_count_first(operator: Client, hook: Subscription) -> None:
    for _ in range(3):
        make_delivery(hook, last_error="timeout")
    page = operator.get(f"{DELIVERIES}retry-all/{hook.pk}/").content.decode()
    assert "has 3 dead letters" in page
    assert Delivery.objects.filter(status=DeliveryStatus.DEAD_LETTER).count() == 3
    operator.post(f"{DELIVERIES}retry-all/{hook.pk}/")
    assert AuditEntry.objects.get(action="subscription.dead_letters_retried").changes == {"total": 3}


def test_very_many_dead_letters_are_not_counted_to_the_end(
    operator: Client, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delivery.operations.dead_letters.MAX_SHOWN", 2)
    for _ in range(3):
        make_delivery(hook, last_error="timeout")
    page = operator.get(f"{DELIVERIES}retry-all/{hook.pk}/").content.decode()
    assert "has more than 2 dead letters" in page
    assert "Try all again" in page


def test_a_delivery_shows_its_event_and_attempts(support: Client, hook: Subscription) -> None:
    delivery = make_delivery(hook, last_error="timeout")
    page = support.get(f"{DELIVERIES}{delivery.pk}/change/").content.decode()
    assert f"/admin/ingestion/event/{delivery.event_id}/change/" in page
    # Not "None" for the attempt that there will not be.
    assert ">None<" not in page


def test_a_delivery_shows_its_next_attempt_as_all_times(support: Client, hook: Subscription) -> None:
    delivery = make_delivery(hook, DeliveryStatus.PENDING)
    at = timezone.now().replace(microsecond=0) + timedelta(hours=1)
    Delivery.objects.filter(pk=delivery.pk).update(next_attempt_at=at)
    page = support.get(f"{DELIVERIES}{delivery.pk}/change/").content.decode()
    assert f"{at:%Y-%m-%d %H:%M:%S} UTC" in page


def test_an_event_shows_its_deliveries_and_leads_to_them(
    support: Client, hook: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delivery.admin.DELIVERIES_SHOWN", 2)
    (event,) = make_events(hook.organization, 1)
    path = f"/admin/ingestion/event/{event.pk}/change/"
    assert "None yet." in support.get(path).content.decode()
    made = [factories.make_delivery(event, make_hook(hook.organization), DeliveryStatus.DEAD_LETTER) for _ in range(3)]
    page = support.get(path).content.decode()
    shown = [each for each in made if f"{DELIVERIES}{each.pk}/change/" in page]
    assert len(shown) == 2
    assert f"{shown[0].subscription.label}</a>: {DeliveryStatus.DEAD_LETTER.label}" in page
    assert "Only the first 2 are shown." in page
    assert f"/console/o/{hook.organization.slug}/events/{event.pk}/" in page


def test_secrets_of_subscriptions_are_not_shown(superuser: Client, organization: Organization) -> None:
    hook = make_hook(organization, secret="gAAAA-secret", headers={"X-Token": "hunter2"})
    page = superuser.get(f"{SUBSCRIPTIONS}{hook.pk}/change/").content.decode()
    assert hook.url in page
    assert "gAAAA-secret" not in page
    assert "hunter2" not in page


def test_failures_are_due_again_with_all_attempts(operator: Client, organization: Organization) -> None:
    failure = make_failure(organization)
    act(operator, FAILURES, "requeue", failure.pk)
    failure.refresh_from_db()
    assert failure.attempts == 0
    assert AuditEntry.objects.get(action="event.requeued").changes == {"attempts": 8}


# --- All lists -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [DELIVERIES, "/admin/organizations/auditentry/", "/admin/ingestion/event/"])
@pytest.mark.parametrize("query", ["", "?organization__id__exact={organization}"])
def test_long_lists_never_count(
    support: Client, organization: Organization, django_assert_max_num_queries: Any, path: str, query: str
) -> None:
    make_delivery(make_hook(organization))
    with django_assert_max_num_queries(10) as queries:
        assert support.get(path + query.format(organization=organization.pk)).status_code == 200
    assert not [query["sql"] for query in queries if "COUNT(" in query["sql"]]


@pytest.mark.parametrize("path", READABLE)
def test_pages_hold_nothing_inline(operator: Client, organization: Organization, path: str) -> None:
    make_delivery(make_hook(organization))
    page = operator.get(path)
    assert "unsafe" not in page["Content-Security-Policy"]
    assert "<script>" not in page.content.decode()
    assert "<style" not in page.content.decode()
    assert " style=" not in page.content.decode()


# --- In a browser ----------------------------------------------------------------------------------------------


@pytest.fixture
def operators_password(transactional_db: None) -> str:
    user = User.objects.create_user("olga", password="a password for one test", is_staff=True)
    user.groups.add(Group.objects.get(name=OPERATOR))
    return "a password for one test"


@pytest.mark.slow
@needs_chromium
def test_a_leaked_key_is_revoked_by_clicking(live_server: Any, operators_password: str) -> None:
    key, plaintext = make_key()
    with open_tab(live_server.url) as tab:
        page = tab.sign_in("olga", operators_password)
        page.click("text=Find a leaked key")
        page.fill("textarea[name=pasted]", f"found in a log: {plaintext}")
        page.click("input[value=Find]")
        assert plaintext not in page.content()
        page.click("text=Yes, revoke it now")
        page.wait_for_selector("text=is revoked.")
        assert not [address for address in tab.addresses if plaintext[15:] in address]
    key.refresh_from_db()
    assert key.revoked_at is not None


@pytest.mark.slow
@needs_chromium
def test_dead_letters_are_tried_again_by_clicking(live_server: Any, operators_password: str) -> None:
    hook = make_hook(make_organization())
    for _ in range(3):
        make_delivery(hook, last_error="timeout")
    with open_tab(live_server.url) as tab:
        page = tab.sign_in("olga", operators_password)
        page.click("text=Dead letters from")
        page.click("#result_list td:nth-child(5) a")
        page.check("tbody tr:nth-child(1) .action-select")
        page.select_option("select[name=action]", "retry")
        page.click("button:has-text('Go')")
        page.wait_for_selector("text=Due again: 1.")
        page.click("text=Dead letters by subscription")
        page.click("text=Try all again")
        page.wait_for_selector("text=has 2 dead letters")
        page.click("text=Try 2 again")
        page.wait_for_selector("text=Due again: 2 of 2.")
    assert not Delivery.objects.filter(status=DeliveryStatus.DEAD_LETTER).exists()


def test_objects_have_no_page_outside_of_the_admin(superuser: Client) -> None:
    for path in ("/admin/r/1/1/", "/admin/r/1/x/", "/admin/r/999999/1/"):
        assert superuser.get(path).status_code == 404
