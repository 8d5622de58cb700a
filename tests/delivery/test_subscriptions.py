"""Subscriptions: their REST resource, the secrets of webhooks, and the test of an endpoint."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_network
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
import time_machine
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from core.problems import Problem
from core.secrets import decrypt_secret
from core.times import format_time
from delivery.endpoints.binding import endpoint_of
from delivery.endpoints.masking import mask, restore_masked
from delivery.endpoints.sealed_headers import open_headers
from delivery.models import DisabledReason, Subscription, SubscriptionStatus
from delivery.operations import holding, subscription_fields
from delivery.webhooks import guard
from delivery.webhooks.name_service import NameService, NameServiceError, SocketAddress
from delivery.webhooks.sending import AttemptResult
from delivery.webhooks.signing import generate_secret, secret_key
from delivery.webhooks.test_send import _send, under_way
from delivery.webhooks.webhook_requests import WebhookRequest, build_request
from notifications.slack import set_slack_channel
from organizations.models import AuditEntry
from tests.conftest import Tenant, make_tenant
from tests.factories import TESTER
from tests.support.http.receiver import Receiver, receiving
from tests.support.limiting import set_limits

PATH = "/api/v1/subscriptions"
URL = "https://example.com/hook"
HOOK: dict[str, Any] = {"kind": "webhook", "url": URL}


@pytest.fixture(autouse=True)
def _no_name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names resolve to nothing, so that no test depends on a network; addresses are vetted all the same."""
    monkeypatch.setattr(subscription_fields, "check_destination", guard.check_url)


@pytest.fixture
def loopback(settings: Any) -> None:
    settings.WEBHOOK_ALLOW_HTTP = True
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]


def create(tenant: Tenant, **body: Any) -> Any:
    answer = tenant.post(PATH, {**HOOK, **body})
    assert answer.status_code == 201, answer.json()
    return answer.json()


def create_inbox(tenant: Tenant, name: str = "ledger", **body: Any) -> Any:
    answer = tenant.post(PATH, {"kind": "inbox", "name": name, **body})
    assert answer.status_code == 201, answer.json()
    return answer.json()


def patch(tenant: Tenant, subscription_id: str, body: Any) -> Any:
    return tenant.request("PATCH", f"{PATH}/{subscription_id}", body)


def default_inbox(tenant: Tenant) -> Any:
    return next(found for found in tenant.get(f"{PATH}?kind=inbox").json()["data"] if found["name"] == "default")


def actions(tenant: Tenant) -> list[str]:
    entries = AuditEntry.objects.for_organization(tenant.organization.pk).filter(target_kind="subscription")
    return [action.removeprefix("subscription.") for action in entries.order_by("id").values_list("action", flat=True)]


def row(subscription_id: str) -> Subscription:
    return Subscription.objects.get(pk=subscription_id)


def test_it_works(tenant: Tenant) -> None:
    wanted = {
        "url": URL,
        "name": "Ledger",
        "description": "Tells the ledger.",
        "event_types": ["invoice.*", "order.paid"],
        "filter": {"data.amount": {"gte": 1000}},
    }
    created = create(tenant, **wanted)
    assert created["secret"].startswith("whsec_")
    secret = created.pop("secret")
    assert created == {
        "id": created["id"],
        "kind": "webhook",
        **wanted,
        "headers": {},
        "tags": None,
        "order_by": None,
        "on_dead_letter": None,
        "timeout_seconds": None,
        "retry_schedule": None,
        "rate_limit": None,
        "max_in_flight": None,
        "signature": None,
        "auth": None,
        "public_key": None,
        "status": "active",
        "disabled_reason": None,
        "disabled_at": None,
        "created_at": created["created_at"],
        "health": {
            "failing_since": None,
            "failures": 0,
            "circuit": None,
            "circuit_open_until": None,
            "last_attempt_at": None,
            "last_success_at": None,
            "last_error": None,
        },
        "max_leases": None,
    }
    path = f"{PATH}/{created['id']}"
    assert tenant.get(path).json() == created
    assert tenant.get(f"{PATH}?kind=webhook").json() == {"data": [created], "next_cursor": None}
    assert tenant.get(f"{path}/secret").json() == {
        "secret": secret,
        "public_key": None,
        "previous_secret_expires_at": None,
    }

    changed = patch(tenant, created["id"], {"event_types": ["*"], "filter": None})
    assert changed.status_code == 200
    assert changed.json() == {**created, "event_types": ["*"], "filter": None}
    assert tenant.request("DELETE", path).status_code == 204
    assert tenant.get(path).status_code == 404
    assert tenant.get(f"{PATH}?kind=webhook").json()["data"] == []
    assert actions(tenant) == ["created", "secret_shown", "updated", "deleted"]


def test_a_webhook_takes_everything_by_default(tenant: Tenant) -> None:
    created = create(tenant)
    assert (created["event_types"], created["filter"], created["name"], created["description"]) == (["*"], None, "", "")


def test_an_inbox_has_neither_url_nor_secret(tenant: Tenant) -> None:
    created = create_inbox(tenant, event_types=["order.*"], max_leases=3)
    assert "secret" not in created
    assert (created["kind"], created["url"], created["headers"]) == ("inbox", None, {})
    assert (created["max_leases"], created["event_types"]) == (3, ["order.*"])
    assert create_inbox(tenant, "other")["max_leases"] == 20
    for action in ("secret", "rotate-secret", "test"):
        method = "GET" if action == "secret" else "POST"
        answer = tenant.request(method, f"{PATH}/{created['id']}/{action}")
        assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
        assert "inbox" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({}, "required", "/kind"),
        ({"kind": "queue"}, "invalid", "/kind"),
        ({"kind": "webhook"}, "required", "/url"),
        ({"kind": "inbox"}, "required", "/name"),
        ({"kind": "inbox", "name": "a", "url": URL}, "unknown_field", "/url"),
        ({"kind": "inbox", "name": "a", "headers": {}}, "unknown_field", "/headers"),
        ({**HOOK, "max_leases": 3}, "unknown_field", "/max_leases"),
        ({**HOOK, "colour": 1}, "unknown_field", "/colour"),
        ({**HOOK, "secret": "whsec_"}, "unknown_field", "/secret"),
        ({"kind": "inbox", "name": ""}, "invalid", "/name"),
        ({"kind": "inbox", "name": "a b"}, "invalid", "/name"),
        ({"kind": "inbox", "name": "a\n"}, "invalid", "/name"),
        ({"kind": "inbox", "name": "a" * 101}, "invalid", "/name"),
        ({"kind": "inbox", "name": "a", "max_leases": 0}, "invalid", "/max_leases"),
        ({**HOOK, "name": "a" * 101}, "invalid", "/name"),
        ({**HOOK, "name": "\x00"}, "nul_character", "/name"),
        ({**HOOK, "description": "\x00"}, "nul_character", "/description"),
        ({**HOOK, "description": "x" * 2001}, "invalid", "/description"),
        ({**HOOK, "event_types": []}, "empty", "/event_types"),
        ({**HOOK, "event_types": ["a", "a*b"]}, "invalid_pattern", "/event_types/1"),
        ({**HOOK, "event_types": "a"}, "invalid", "/event_types"),
        ({**HOOK, "event_types": [f"t{number}" for number in range(101)]}, "too_many", "/event_types"),
        ({**HOOK, "filter": {}}, "empty", "/filter"),
        ({**HOOK, "filter": []}, "invalid", "/filter"),
        ({**HOOK, "filter": {"data.a": {"like": "x"}}}, "unknown_operator", "/filter/data.a/like"),
        ({**HOOK, "headers": {"Host": "x"}}, "reserved", "/headers/Host"),
        ({**HOOK, "headers": {"a": "b\r\nc: d"}}, "invalid_value", "/headers/a"),
        ({**HOOK, "headers": {"X-B": "b", "X-A": 1}}, "invalid_value", "/headers/X-A"),
        ({**HOOK, "headers": {"X-A": None}}, "invalid_value", "/headers/X-A"),
        ({**HOOK, "headers": {"X/A~": {"a": 1}}}, "invalid_name", "/headers/X~1A~0"),
        ({**HOOK, "url": ""}, "unsafe_url", "/url"),
        ({**HOOK, "url": "not a url"}, "unsafe_url", "/url"),
        ({**HOOK, "url": "http://example.com/"}, "unsafe_url", "/url"),
        ({**HOOK, "url": "ftp://example.com/"}, "unsafe_url", "/url"),
        ({**HOOK, "url": "https://user:secret@example.com/"}, "unsafe_url", "/url"),
        ({**HOOK, "url": "https://localhost/"}, "unsafe_url", "/url"),
        ({**HOOK, "url": "https://127.0.0.1/"}, "unsafe_url", "/url"),
        ({**HOOK, "url": "https://0x7f.1/"}, "unsafe_url", "/url"),
        ({**HOOK, "url": "https://[::ffff:127.0.0.1]/"}, "unsafe_url", "/url"),
        ({**HOOK, "url": "https://169.254.169.254/latest"}, "unsafe_url", "/url"),
        ({**HOOK, "url": "https://example.com/" + "a" * 2048}, "invalid", "/url"),
    ],
)  # fmt: skip
def test_bad_input_is_named(tenant: Tenant, body: Any, code: str, pointer: str) -> None:
    answer = tenant.post(PATH, body)
    assert answer.status_code == 422
    assert (answer.json()["errors"][0]["code"], answer.json()["errors"][0]["pointer"]) == (code, pointer)
    assert not Subscription.objects.exists()


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"kind": "inbox"}, "unknown_field", "/kind"),
        ({"max_leases": 3}, "wrong_kind", "/max_leases"),
        ({"url": "https://10.0.0.1/"}, "unsafe_url", "/url"),
        ({"url": None}, "invalid", "/url"),
        ({"event_types": []}, "empty", "/event_types"),
        ({"filter": {"type": {"gt": 1}}}, "type_mismatch", "/filter/type/gt"),
        ({"status": "paused"}, "unknown_field", "/status"),
    ],
)
def test_bad_changes_are_named_and_change_nothing(tenant: Tenant, body: Any, code: str, pointer: str) -> None:
    created = create(tenant)
    answer = patch(tenant, created["id"], {"description": "new", **body})
    assert answer.status_code == 422
    assert (answer.json()["errors"][0]["code"], answer.json()["errors"][0]["pointer"]) == (code, pointer)
    assert tenant.get(f"{PATH}/{created['id']}").json()["description"] == ""


def test_an_inbox_cannot_become_a_webhook(tenant: Tenant) -> None:
    created = create_inbox(tenant)
    for body, pointer in (({"url": URL}, "/url"), ({"headers": {}}, "/headers"), ({"name": "a b"}, "/name")):
        answer = patch(tenant, created["id"], body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"kind": "webhook", "url": "\\ud800"}'])
def test_what_is_no_json_is_refused(tenant: Tenant, body: bytes) -> None:
    assert tenant.post(PATH, body).json()["code"] == "malformed_json"


def test_a_name_that_leads_inside_is_refused_when_it_is_stored(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_up(host: str, port: int) -> list[SocketAddress]:
        return [("10.1.2.3", port)]

    def check(url: str, policy: guard.NetworkPolicy) -> None:
        guard.check_destination(url, policy, look_up=look_up)

    monkeypatch.setattr(subscription_fields, "check_destination", check)
    answer = tenant.post(PATH, HOOK)
    assert answer.json()["errors"] == [
        {"pointer": "/url", "code": "unsafe_url", "detail": "The host resolves to a private address."}
    ]


def test_a_url_is_kept_as_given_and_refused_with_what_may_not_stand_in_it(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_up(host: str, port: int) -> list[SocketAddress]:
        raise OSError(None, "no such name")

    monkeypatch.setattr(subscription_fields, "check_destination", partial(guard.check_destination, look_up=look_up))
    url = "https://example.com/a%2Fb/../it's?sig=%3A&x="
    assert create(tenant, url=url)["url"] == url
    answer = tenant.post(PATH, {**HOOK, "url": "https://example.com/<é>"})
    assert (answer.status_code, answer.json()["errors"]) == (
        422,
        [
            {
                "pointer": "/url",
                "code": "unsafe_url",
                "detail": "The URL holds characters that must be percent-encoded: < é >.",
            }
        ],
    )


# --- Lists, tenants, scopes --------------------------------------------------------------------------------------


def test_lists_filter_by_kind_and_status(tenant: Tenant) -> None:
    hook, inbox = create(tenant)["id"], create_inbox(tenant)["id"]
    default = default_inbox(tenant)["id"]
    tenant.post(f"{PATH}/{hook}/pause")

    def ids(query: str) -> list[str]:
        return [found["id"] for found in tenant.get(f"{PATH}{query}").json()["data"]]

    assert ids("") == [default, inbox, hook]
    assert ids("?kind=webhook") == [hook]
    assert ids("?status=paused") == [hook]
    assert ids("?kind=inbox&status=active") == [default, inbox]
    for query in ("?status=deleted", "?kind=x", "?name=x"):
        assert tenant.get(PATH + query).status_code == 422


def test_every_organization_has_the_inbox_default(tenant: Tenant) -> None:
    assert [found["name"] for found in tenant.get(PATH).json()["data"]] == ["default"]
    assert tenant.post(PATH, {"kind": "inbox", "name": "default"}).json()["code"] == "inbox_exists"


def test_lists_page_while_subscriptions_arrive(tenant: Tenant) -> None:
    made = [create(tenant)["id"] for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        page = tenant.get(f"{PATH}?kind=webhook&limit=2{cursor}").json()
        seen += [found["id"] for found in page["data"]]
        cursor = f"&cursor={page['next_cursor']}"
        create(tenant)
    assert seen == made[::-1]
    assert page["next_cursor"] is None
    assert tenant.get(f"{PATH}?cursor=forged").status_code == 400


def test_lists_never_hold_secrets(tenant: Tenant) -> None:
    created = create(tenant, headers={"Authorization": "Bearer s3cr3t-t0ken"})
    for path in (PATH, f"{PATH}/{created['id']}"):
        page = tenant.get(path).content.decode()
        assert created["secret"] not in page
        assert "s3cr3t" not in page


def test_everything_needs_the_scope(db: None) -> None:
    tenant = make_tenant(scopes=["events:read", "events:write", "inbox:consume", "keys:manage"])
    assert tenant.get(PATH).status_code == 403
    assert tenant.post(PATH, HOOK).status_code == 403


def test_inboxes_of_two_tenants_may_have_one_name(tenant: Tenant, other_tenant: Tenant) -> None:
    mine = create_inbox(tenant)
    create_inbox(other_tenant)
    assert patch(other_tenant, mine["id"], {"description": "x"}).status_code == 404


# --- Inboxes -----------------------------------------------------------------------------------------------------


def test_one_inbox_has_a_name_until_it_is_deleted(tenant: Tenant) -> None:
    first, other = create_inbox(tenant), create_inbox(tenant, "other")
    for answer in (
        tenant.post(PATH, {"kind": "inbox", "name": "ledger"}),
        patch(tenant, other["id"], {"name": "ledger"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "inbox_exists")
    tenant.request("DELETE", f"{PATH}/{first['id']}")
    assert create_inbox(tenant)["id"] != first["id"]


@pytest.mark.django_db(transaction=True)
def test_of_concurrent_creations_of_an_inbox_one_wins() -> None:
    tenant = make_tenant()

    def make(_: int) -> int:
        try:
            return int(tenant.post(PATH, {"kind": "inbox", "name": "a"}).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(make, range(16))) == [201] + [409] * 15


@pytest.mark.django_db(transaction=True)
def test_the_limit_holds_for_concurrent_creations(monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch, subscriptions=5)
    tenant = make_tenant()

    def make(_: int) -> tuple[int, str]:
        try:
            answer = tenant.post(PATH, HOOK)
            return answer.status_code, answer.json().get("code", "")
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(make, range(16))) == [(201, "")] * 5 + [(409, "limit_reached")] * 11
    first = tenant.get(f"{PATH}?kind=webhook").json()["data"][0]
    tenant.request("DELETE", f"{PATH}/{first['id']}")
    assert make(0) == (201, "") or default_inbox(tenant)


def test_the_inbox_default_keeps_taking_everything(tenant: Tenant) -> None:
    inbox = default_inbox(tenant)
    for body in ({"name": "other"}, {"event_types": ["a"]}, {"filter": {"type": "a"}}):
        answer = patch(tenant, inbox["id"], body)
        assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
        assert next(iter(body)) in answer.json()["detail"]
    assert tenant.request("DELETE", f"{PATH}/{inbox['id']}").json()["code"] == "wrong_state"
    same = {"name": "default", "event_types": ["*"], "filter": None, "description": "All.", "max_leases": 5}
    changed = patch(tenant, inbox["id"], same).json()
    assert changed == {**inbox, **same}


# --- Changes -----------------------------------------------------------------------------------------------------


def test_a_change_tells_processing_and_the_audit_log(tenant: Tenant) -> None:
    created = create(tenant, headers={"X-Token": "abc"})
    Subscription.objects.update(changed_at=datetime(2020, 1, 1, tzinfo=UTC))
    patch(tenant, created["id"], {"event_types": ["*"], "headers": {"X-Token": "abc"}})
    assert row(created["id"]).changed_at.year == 2020, "nothing changed"
    patch(tenant, created["id"], {"event_types": ["a"], "url": URL + "/secret-path", "filter": {"type": "a"}})
    assert row(created["id"]).changed_at.year > 2020
    entry = AuditEntry.objects.get(action="subscription.updated")
    assert entry.changes == {"event_types": [["*"], ["a"]], "url": "changed", "filter": "changed"}


def test_a_filter_with_true_in_place_of_one_is_a_change(tenant: Tenant) -> None:
    created = create(tenant, filter={"data.a": 1})
    assert patch(tenant, created["id"], {"filter": {"data.a": True}}).json()["filter"] == {"data.a": True}
    assert row(created["id"]).filter == {"data.a": True}
    assert "true" in json.dumps(row(created["id"]).filter)


def test_repeated_types_are_kept_once(tenant: Tenant) -> None:
    assert create(tenant, event_types=["a", "b", "a"])["event_types"] == ["a", "b"]


@pytest.mark.parametrize("how", ["pause", "resume", "DELETE"])
def test_each_change_of_status_tells_processing(tenant: Tenant, how: str) -> None:
    created = create(tenant)
    if how == "resume":
        tenant.post(f"{PATH}/{created['id']}/pause")
    Subscription.objects.update(changed_at=datetime(2020, 1, 1, tzinfo=UTC))
    if how == "DELETE":
        tenant.request("DELETE", f"{PATH}/{created['id']}")
    else:
        tenant.post(f"{PATH}/{created['id']}/{how}")
    assert row(created["id"]).changed_at.year > 2020


def test_a_deleted_one_keeps_its_row_but_no_secret(tenant: Tenant) -> None:
    created = create(tenant, headers={"X-Token": "abc"})
    path = f"{PATH}/{created['id']}"
    assert tenant.request("DELETE", path).status_code == 204
    kept = row(created["id"])
    assert (kept.status, kept.secret, kept.previous_secret, kept.headers) == ("deleted", "", "", {})
    for method, target in (
        ("DELETE", path),
        ("PATCH", path),
        ("POST", f"{path}/pause"),
        ("POST", f"{path}/resume"),
        ("POST", f"{path}/rotate-secret"),
        ("POST", f"{path}/test"),
        ("GET", f"{path}/secret"),
        ("GET", f"{path}/deliveries"),
    ):
        assert tenant.request(method, target, {} if method == "PATCH" else None).status_code == 404


def test_headers_are_shown_masked_and_can_be_sent_back(tenant: Tenant) -> None:
    headers = {"Authorization": "Bearer s3cr3t-t0ken", "X-Short": "abc"}
    created = create(tenant, headers=headers)
    assert created["headers"] == {"Authorization": "****0ken", "X-Short": "****"}
    patch(tenant, created["id"], {"headers": {**created["headers"], "X-New": "n"}})
    assert open_headers(row(created["id"]).headers) == {**headers, "X-New": "n"}
    patch(tenant, created["id"], {"headers": {"X-Short": "new"}})
    assert open_headers(row(created["id"]).headers) == {"X-Short": "new"}


@given(st.dictionaries(st.text("abcdefghij-", min_size=1), st.text(), max_size=5))
def test_masked_headers_stand_for_what_they_mask(headers: dict[str, str]) -> None:
    shown = {name.title(): mask(value) for name, value in headers.items()}
    restored = restore_masked(shown, headers)
    assert {name.lower(): value for name, value in restored.items()} == headers
    assert all(len(mask(value).removeprefix("****")) in (0, 4) for value in headers.values())


@given(st.text(), st.text())
def test_a_mask_is_taken_for_no_other_value(value: str, other: str) -> None:
    """Neither under another name nor once the value behind it has changed."""
    with pytest.raises(Problem, match="wrong or unknown"):
        restore_masked({"b": mask(value)}, {"a": value})
    if mask(value) == mask(other):
        assert restore_masked({"a": mask(value)}, {"a": other}) == {"a": other}
    else:
        with pytest.raises(Problem, match="wrong or unknown"):
            restore_masked({"a": mask(value)}, {"a": other})


TOKEN = "Bearer s3cr3t-t0ken"


@pytest.mark.parametrize("name", ["X-Other", "authorization2"])
def test_a_mask_under_another_name_overwrites_nothing(tenant: Tenant, name: str) -> None:
    created = create(tenant, headers={"Authorization": TOKEN})
    answer = patch(tenant, created["id"], {"headers": {name: created["headers"]["Authorization"]}})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == f"/headers/{name}"
    assert answer.json()["errors"][0]["code"] == "masked_value"
    assert open_headers(row(created["id"]).headers) == {"Authorization": TOKEN}


def test_a_mask_in_another_case_stands_for_the_value(tenant: Tenant) -> None:
    created = create(tenant, headers={"Authorization": TOKEN})
    shown = patch(tenant, created["id"], {"headers": {"AUTHORIZATION": "****0ken"}})
    assert shown.json()["headers"] == {"AUTHORIZATION": "****0ken"}
    assert open_headers(row(created["id"]).headers) == {"AUTHORIZATION": TOKEN}


def test_a_mask_is_no_value_of_a_new_webhook(tenant: Tenant) -> None:
    answer = tenant.post(PATH, {"kind": "webhook", "url": URL, "headers": {"Authorization": "****0ken"}})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "masked_value")


ELSEWHERE = ["https://evil.example.org/hook", "https://example.com:8443/hook", "https://example.com.evil.org/"]


@pytest.mark.parametrize("url", ELSEWHERE)
def test_stored_header_values_go_to_no_other_endpoint(tenant: Tenant, url: str) -> None:
    stored = {"Authorization": TOKEN, "X-Short": "abc"}
    created = create(tenant, url="https://example.com/hook", headers=stored)
    masks = created["headers"]
    for body, named in (
        ({"url": url}, ["Authorization", "X-Short"]),
        ({"url": url, "headers": masks}, ["Authorization", "X-Short"]),
        ({"url": url, "headers": {**masks, "X-Short": "abc"}}, ["Authorization"]),
        ({"url": url, "headers": {"AUTHORIZATION": "****0ken"}}, ["AUTHORIZATION"]),
    ):
        answer = patch(tenant, created["id"], body)
        assert (answer.status_code, answer.json()["code"]) == (422, "headers_required")
        assert [error["pointer"] for error in answer.json()["errors"]] == [f"/headers/{name}" for name in named]
        assert row(created["id"]).url == "https://example.com/hook"
    given = {"Authorization": "Bearer another-t0ken", "X-Short": "abc"}
    assert patch(tenant, created["id"], {"url": url, "headers": given}).status_code == 200
    assert open_headers(row(created["id"]).headers) == given
    assert patch(tenant, created["id"], {"url": "https://example.com/", "headers": {}}).status_code == 200


@pytest.mark.parametrize("url", ["https://example.com/other?a=1", "https://EXAMPLE.com:443/hook"])
def test_another_path_of_the_same_endpoint_needs_no_values(tenant: Tenant, url: str) -> None:
    created = create(tenant, url="https://example.com/hook", headers={"Authorization": TOKEN})
    assert patch(tenant, created["id"], {"url": url}).status_code == 200
    assert open_headers(row(created["id"]).headers) == {"Authorization": TOKEN}


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("https://a.example/x", "https://A.example:443/y?z", True),
        ("http://a.example", "http://a.example:80/", True),
        ("http://a.example:443/", "https://a.example:443/", False),
        ("https://a.example/", "https://a.example:444/", False),
        ("https://a.example/", "https://b.example/", False),
        ("https://bücher.example/", "https://xn--bcher-kva.example/", True),
        ("https://a.example/", "https://a.example@b.example/", False),
        ("https://a.example/", r"https://a.example\@b.example/", False),
    ],
)
def test_an_endpoint_is_scheme_host_and_port(before: str, after: str, same: bool) -> None:
    assert (endpoint_of(before) == endpoint_of(after)) is same


# --- Pausing and resuming ----------------------------------------------------------------------------------------


def test_pausing_and_resuming_twice_changes_nothing_more(
    tenant: Tenant, django_capture_on_commit_callbacks: Any
) -> None:
    path = f"{PATH}/{create(tenant)['id']}"
    for _ in range(2):
        paused = tenant.post(f"{path}/pause")
        assert (paused.status_code, paused.json()["status"]) == (200, "paused")
    with mock.patch.object(holding, "wake_sending") as wake, django_capture_on_commit_callbacks(execute=True):
        for _ in range(2):
            resumed = tenant.post(f"{path}/resume")
            assert (resumed.status_code, resumed.json()["status"]) == (200, "active")
    assert wake.call_count == 1
    assert actions(tenant) == ["created", "paused", "resumed"]


def test_resuming_a_disabled_one_clears_its_record(tenant: Tenant) -> None:
    created = create(tenant)
    now = datetime.now(UTC)
    Subscription.objects.filter(pk=created["id"]).update(
        status=SubscriptionStatus.DISABLED,
        disabled_reason=DisabledReason.FAILING,
        disabled_at=now,
        failing_since=now,
        failures=40,
        circuit_open_until=now + timedelta(minutes=5),
        last_error="timeout",
    )
    path = f"{PATH}/{created['id']}"
    disabled = tenant.get(path).json()
    assert (disabled["status"], disabled["disabled_reason"]) == ("disabled", "failing")
    assert disabled["disabled_at"] == disabled["health"]["failing_since"] == format_time(now)
    until = format_time(now + timedelta(minutes=5))
    assert disabled["health"]["circuit"] == {
        "open_until": until,
        "reason": "The last 40 attempts failed (timeout).",
    }
    assert disabled["health"]["circuit_open_until"] == until
    assert tenant.post(f"{path}/pause").json()["code"] == "wrong_state"
    resumed = tenant.post(f"{path}/resume").json()
    assert (resumed["status"], resumed["disabled_reason"], resumed["disabled_at"]) == ("active", None, None)
    assert resumed["health"] == {
        "failing_since": None,
        "failures": 0,
        "circuit": None,
        "circuit_open_until": None,
        "last_attempt_at": None,
        "last_success_at": None,
        "last_error": "timeout",
    }


def test_a_circuit_that_has_closed_is_not_shown(tenant: Tenant) -> None:
    created = create(tenant)
    Subscription.objects.filter(pk=created["id"]).update(circuit_open_until=datetime(2020, 1, 1, tzinfo=UTC))
    health = tenant.get(f"{PATH}/{created['id']}").json()["health"]
    assert (health["circuit"], health["circuit_open_until"]) == (None, None)


def test_another_url_is_another_endpoint(tenant: Tenant) -> None:
    created = create(tenant)
    rows = Subscription.objects.filter(pk=created["id"])
    rows.update(failures=30, circuit_step=2, circuit_open_until=timezone.now() + timedelta(minutes=5))
    assert tenant.request("PATCH", f"{PATH}/{created['id']}", {"description": "x"}).json()["health"]["circuit"]
    moved = tenant.request("PATCH", f"{PATH}/{created['id']}", {"url": "https://example.org/other"}).json()
    assert (moved["health"]["circuit"], moved["health"]["failures"]) == (None, 0)


# --- Secrets -----------------------------------------------------------------------------------------------------


def test_secrets_are_encrypted_at_rest(tenant: Tenant) -> None:
    created = create(tenant)
    stored = row(created["id"]).secret
    assert created["secret"].removeprefix("whsec_") not in stored
    assert decrypt_secret(stored) == created["secret"]
    assert created["secret"] not in json.dumps(list(AuditEntry.objects.values_list("changes", "target_label")))


def test_a_rotation_keeps_the_previous_secret_for_a_day(tenant: Tenant) -> None:
    created = create(tenant)
    path = f"{PATH}/{created['id']}"
    rotated = tenant.post(f"{path}/rotate-secret")
    assert rotated.status_code == 200
    assert rotated.json()["secret"] not in ("", created["secret"])
    kept = row(created["id"])
    assert decrypt_secret(kept.secret) == rotated.json()["secret"]
    assert decrypt_secret(kept.previous_secret) == created["secret"]
    expires_at = datetime.fromisoformat(rotated.json()["previous_secret_expires_at"])
    assert timedelta(hours=23, minutes=59) < expires_at - datetime.now(UTC) <= timedelta(days=1)
    assert tenant.get(f"{path}/secret").json() == rotated.json()
    with time_machine.travel(expires_at + timedelta(seconds=1), tick=False):
        assert tenant.get(f"{path}/secret").json() == {**rotated.json(), "previous_secret_expires_at": None}
    assert actions(tenant) == ["created", "secret_rotated", "secret_shown", "secret_shown"]


@pytest.mark.parametrize(
    ("overlap", "status"), [(0, 200), (3600, 200), (2_592_000, 200), (-1, 422), (2_592_001, 422), (1.5, 422)]
)
def test_the_overlap_can_be_chosen(tenant: Tenant, overlap: float, status: int) -> None:
    created = create(tenant)
    answer = tenant.post(f"{PATH}/{created['id']}/rotate-secret", {"overlap_seconds": overlap})
    assert answer.status_code == status
    if overlap == 0:
        assert answer.json()["previous_secret_expires_at"] is None
        assert row(created["id"]).previous_secret == ""


# --- The request of a webhook ------------------------------------------------------------------------------------


def test_a_request_is_what_the_specification_asks_for() -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    secrets = [generate_secret(), generate_secret()]
    event_id = UUID("019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b")
    request = build_request(
        url=URL,
        secrets=[secret_key(secret) for secret in secrets],
        headers={"X-Token": "abc", "user-agent": "mine"},
        event_id=event_id,
        event_type="invoice.paid",
        received_at=now - timedelta(hours=1),
        data='{"amount": 1.10, "who": "Zoë"}',
        now=now,
    )
    assert request.body == (
        b'{"id":"019a1b2c-3d4e-7f50-8a6b-7c8d9e0f1a2b","type":"invoice.paid",'
        b'"timestamp":"2026-11-24T11:00:00.000000Z","data":{"amount": 1.10, "who": "Zo\xc3\xab"}}'
    )
    assert build_request(
        url=URL, secrets=[], headers={}, event_id=event_id, event_type="t", received_at=now, now=now,
        data='"AP8="', attributes='{"data_base64": true}',
    ).body.endswith(b'"data":"AP8=","attributes":{"data_base64": true}}')  # fmt: skip
    signature = request.headers["webhook-signature"]
    assert dict(request.headers) == {
        "X-Token": "abc",
        "content-type": "application/json",
        "user-agent": "EventsPlatform/1",
        "webhook-id": str(event_id),
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }
    with time_machine.travel(now, tick=False):
        for secret in secrets:
            assert Webhook(secret).verify(request.body, dict(request.headers))["type"] == "invoice.paid"


# --- The test of an endpoint -------------------------------------------------------------------------------------


@pytest.fixture
def receiver(loopback: None) -> Any:
    with receiving() as found:
        yield found


def test_a_test_event_arrives_signed_with_both_secrets(tenant: Tenant, receiver: Receiver) -> None:
    created = create(tenant, url=f"{receiver.url}/ok", headers={"X-Token": "abc"})
    new = tenant.post(f"{PATH}/{created['id']}/rotate-secret").json()["secret"]
    for secret in (created["secret"], new):
        receiver.webhooks = [Webhook(secret)]
        answer = tenant.post(f"{PATH}/{created['id']}/test")
        assert answer.status_code == 200
        result = answer.json()
        arrived = receiver.received[-1]
        assert arrived.verified
        assert (arrived.path, arrived.id, arrived.headers["x-token"]) == ("/ok", result["event_id"], "abc")
        body = json.loads(arrived.body)
        assert list(body) == ["id", "type", "timestamp", "data"]
        assert (body["id"], body["type"], body["data"]) == (result["event_id"], "webhook.test", {"test": True})
        assert result["request_headers"]["X-Token"] == "****"
        assert result["request_body"].encode() == arrived.body
        assert result["timings"]["total_ms"] == result["duration_ms"]
        shown = {"event_id", "delivered", "status_code", "error", "error_detail", "detail", "response", "response_body"}
        assert {name: value for name, value in result.items() if name in shown} == {
            "event_id": arrived.id,
            "delivered": True,
            "status_code": 200,
            "error": None,
            "error_detail": None,
            "detail": "The endpoint answered 200 (OK).",
            "response": "taken",
            "response_body": "taken",
        }


def test_a_previous_secret_that_is_over_signs_no_more(tenant: Tenant, receiver: Receiver) -> None:
    created = create(tenant, url=f"{receiver.url}/ok")
    tenant.post(f"{PATH}/{created['id']}/rotate-secret")
    Subscription.objects.update(previous_secret_until=datetime(2020, 1, 1, tzinfo=UTC))
    receiver.webhooks = [Webhook(created["secret"])]
    tenant.post(f"{PATH}/{created['id']}/test")
    assert not receiver.received[-1].verified
    assert " " not in receiver.received[-1].headers["webhook-signature"]


def test_a_test_sends_the_data_as_it_was_given(tenant: Tenant, receiver: Receiver) -> None:
    created = create(tenant, url=f"{receiver.url}/ok")
    tenant.post(f"{PATH}/{created['id']}/pause")
    answer = tenant.post(f"{PATH}/{created['id']}/test", b'{"type": "a.b", "data": [1.10, null]}')
    assert answer.json()["delivered"]
    assert receiver.received[-1].body.endswith(b'"data":[1.10, null]}')
    assert b'"type":"a.b"' in receiver.received[-1].body


@pytest.mark.parametrize(
    ("path", "status_code", "error"),
    [("/status/503", 503, "http_error"), ("/redirect", 307, "redirect"), ("/reset", None, "connection_reset")],
)
def test_a_failed_test_tells_why_and_leaves_no_trace(
    tenant: Tenant, receiver: Receiver, path: str, status_code: int | None, error: str
) -> None:
    created = create(tenant, url=receiver.url + path)
    answer = tenant.post(f"{PATH}/{created['id']}/test")
    assert answer.status_code == 200
    result = answer.json()
    assert (result["delivered"], result["status_code"], result["error"]) == (False, status_code, error)
    assert result["detail"]
    assert tenant.get(f"{PATH}/{created['id']}").json()["health"] == created["health"]
    assert tenant.get(f"{PATH}/{created['id']}/deliveries").json()["data"] == []
    assert actions(tenant) == ["created", "tested"]


def test_a_test_never_reaches_a_private_address(tenant: Tenant, receiver: Receiver, settings: Any) -> None:
    created = create(tenant, url=f"{receiver.url}/ok")
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    result = tenant.post(f"{PATH}/{created['id']}/test").json()
    assert (result["delivered"], result["error"]) == (False, "unsafe_address")
    assert receiver.total == 0


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"type": "a b"}, "invalid", "/type"),
        ({"id": "x"}, "unknown_field", "/id"),
        ({"data": "\x00"}, "nul_character", "/data"),
    ],
)
def test_a_bad_test_event_is_named(tenant: Tenant, body: Any, code: str, pointer: str) -> None:
    answer = tenant.post(f"{PATH}/{create(tenant)['id']}/test", body)
    assert answer.status_code == 422
    assert (answer.json()["errors"][0]["code"], answer.json()["errors"][0]["pointer"]) == (code, pointer)


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_an_endpoint_is_slow(receiver: Receiver, settings: Any) -> None:
    held: list[object] = []
    tenant = make_tenant()
    created = create(tenant, url=f"{receiver.url}/ok")
    # Not `connection`, which is another one in a coroutine.
    ours = connections[DEFAULT_DB_ALIAS]

    async def send_and_tell(request: WebhookRequest) -> AttemptResult:
        held.append(ours.connection)
        return await _send(request)

    settings.DATABASE_POOL_SIZE = 1
    with mock.patch("delivery.webhooks.test_send._send", send_and_tell):
        assert tenant.post(f"{PATH}/{created['id']}/test").json()["delivered"]
    assert held == [None]


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_a_name_is_resolved(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """A name server may take seconds."""
    held: list[object] = []
    ours = connections[DEFAULT_DB_ALIAS]

    async def look_up(service: NameService, host: str, port: int) -> list[SocketAddress]:
        held.append(ours.connection)
        raise NameServiceError

    monkeypatch.setattr(NameService, "look_up", look_up)
    monkeypatch.setattr(subscription_fields, "check_destination", guard.check_destination)
    tenant = make_tenant()
    settings.DATABASE_POOL_SIZE = 1
    created = create(tenant)
    assert patch(tenant, created["id"], {"url": "https://example.com/other"}).status_code == 200
    # As the page does it, which has read of whose channel it is.
    tenant.organization.refresh_from_db()
    set_slack_channel(organization=tenant.organization, url="https://example.com/slack", actor=TESTER)
    assert held == [None, None, None]


def test_a_few_tests_are_under_way_at_once_and_one_organization_has_two_of_them(
    tenant: Tenant, receiver: Receiver
) -> None:
    """Each takes a thread of a web process for as long as the endpoint likes."""
    path = f"{PATH}/{create(tenant, url=f'{receiver.url}/ok')['id']}/test"
    own = tenant.organization.pk
    with under_way.hold(own):
        assert tenant.post(path).json()["delivered"]
        with under_way.hold(own):
            refused = tenant.post(path)
            assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
            assert int(refused.headers["Retry-After"]) > 0
    assert tenant.post(path).json()["delivered"]
    with ExitStack() as others:
        for other in range(16):
            others.enter_context(under_way.hold(other))
        assert tenant.post(path).status_code == 429
    assert tenant.post(path).json()["delivered"]
