"""Options of a subscription: taken, refused and cleared by the API, and obeyed by the sender."""

from ipaddress import ip_network
from typing import Any

import pytest

from delivery.models import Delivery, DeliveryStatus, Subscription, label_of
from delivery.operations import subscription_fields
from delivery.webhooks import guard
from organizations.models import AuditEntry
from tests.conftest import Tenant
from tests.factories import make_organization
from tests.support.events.delivering import SECRET, accept, send_due, webhook
from tests.support.http.receiver import receiving

PATH = "/api/v1/subscriptions"
HOOK: dict[str, Any] = {"kind": "webhook", "url": "https://example.com/hook"}
OPTIONS: dict[str, Any] = {
    "name": "Ledger",
    "tags": ["customer-1", "eu"],
    "order_by": 'data."a.b".0',
    "on_dead_letter": "hold",
    "timeout_seconds": 2.5,
    "retry_schedule": [1, 60, 3600],
    "rate_limit": {"per_second": 0.5},
    "max_in_flight": 5,
    "signature": "v1a",
}


@pytest.fixture
def _no_name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_fields, "check_destination", guard.check_url)


@pytest.fixture
def _loopback_is_allowed(settings: Any) -> None:
    settings.WEBHOOK_ALLOW_HTTP = True
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]


def create(tenant: Tenant, **body: Any) -> Any:
    answer = tenant.post(PATH, {**HOOK, **body})
    assert answer.status_code == 201, answer.json()
    return answer.json()


def shown(subscription: dict[str, Any]) -> dict[str, Any]:
    return {name: subscription[name] for name in OPTIONS}


@pytest.mark.usefixtures("_no_name_service")
def test_options_are_taken_shown_and_cleared_one_by_one(tenant: Tenant) -> None:
    created = create(tenant, **OPTIONS)
    path = f"{PATH}/{created['id']}"
    assert shown(created) == shown(tenant.get(path).json()) == OPTIONS
    left = dict(OPTIONS)
    for name in OPTIONS:
        left[name] = "" if name == "name" else None
        assert shown(tenant.request("PATCH", path, {name: None}).json()) == left
    assert shown(create(tenant)) == shown(create(tenant, **dict.fromkeys(OPTIONS))) == left
    assert AuditEntry.objects.filter(action="subscription.updated").count() == len(OPTIONS)


@pytest.mark.usefixtures("_no_name_service")
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "x" * 101}, "/name"),
        ({"tags": ["a"] * 21}, "/tags"),
        ({"order_by": "time"}, "/order_by"),
        ({"order_by": "data"}, "/order_by"),
        ({"order_by": "data.a.*"}, "/order_by"),
        ({"order_by": "data." + "a" * 251}, "/order_by"),
        ({"on_dead_letter": "stop"}, "/on_dead_letter"),
        ({"tags": ["good", ""]}, "/tags/1"),
        ({"tags": ["a\x00"]}, "/tags/0"),
        ({"tags": ["x" * 101]}, "/tags/0"),
        ({"timeout_seconds": 0.5}, "/timeout_seconds"),
        ({"timeout_seconds": 61}, "/timeout_seconds"),
        ({"timeout_seconds": "5"}, "/timeout_seconds"),
        ({"retry_schedule": [5] * 51}, "/retry_schedule"),
        ({"retry_schedule": [5, 0]}, "/retry_schedule/1"),
        ({"retry_schedule": [10**30]}, "/retry_schedule/0"),
        ({"retry_schedule": [2_592_000, 1]}, "/retry_schedule"),
        ({"signature": "v2"}, "/signature"),
        ({"rate_limit": {"per_second": 0.09}}, "/rate_limit/per_second"),
        ({"rate_limit": {"per_second": 1001}}, "/rate_limit/per_second"),
        ({"rate_limit": {}}, "/rate_limit/per_second"),
        ({"rate_limit": 5}, "/rate_limit"),
        ({"max_in_flight": 0}, "/max_in_flight"),
        ({"max_in_flight": 101}, "/max_in_flight"),
    ],
)
def test_what_an_option_cannot_be_is_named(tenant: Tenant, body: dict[str, Any], pointer: str) -> None:
    answer = tenant.post(PATH, {**HOOK, **body})
    assert answer.status_code == 422
    assert [error["pointer"].partition(" ")[0] for error in answer.json()["errors"]] == [pointer]


def test_an_inbox_has_no_options_of_sending(tenant: Tenant) -> None:
    inbox = tenant.post(PATH, {"kind": "inbox", "name": "ledger", "tags": ["eu"]}).json()
    assert (inbox["tags"], inbox["timeout_seconds"], inbox["retry_schedule"]) == (["eu"], None, None)
    answer = tenant.request("PATCH", f"{PATH}/{inbox['id']}", {"retry_schedule": [5]})
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/retry_schedule"]
    assert tenant.request("PATCH", f"{PATH}/{inbox['id']}", {"name": None}).status_code == 422


def test_a_body_that_may_be_left_out_is_read_alike_everywhere(tenant: Tenant) -> None:
    """None, whatever the content type says; one that is there is checked."""
    inbox = tenant.post(PATH, {"kind": "inbox", "name": "ledger"}).json()["id"]
    for path in (f"{PATH}/{inbox}/dead-letters/retry", f"{PATH}/{inbox}/retry-dead-letters"):
        assert tenant.post(path).status_code in (200, 202)
        assert tenant.post(path, {"unknown": 1}).status_code == 422


@pytest.mark.parametrize(
    ("name", "url", "label"),
    [
        ("Ledger", "https://example.com/hook", "Ledger"),
        ("", "https://example.com/hook/?token=s3cret", "example.com/hook"),
        ("", "http://127.0.0.1:8080/a", "127.0.0.1:8080/a"),
        ("", f"https://hooks.example.com/{'x' * 100}/last", f"hooks.example.com/xxxxxx…{'x' * 18}/last"),
    ],
)
def test_a_subscription_is_called_by_its_name_or_its_address(name: str, url: str, label: str) -> None:
    assert label_of(name, url) == label
    assert str(Subscription(kind="webhook", name=name, url=url)) == f"webhook {label}"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_loopback_is_allowed")
def test_an_endpoint_has_its_own_time_and_its_own_retries() -> None:
    """The one with an empty schedule is given up at once, the other one is tried again by its own."""
    organization = make_organization()
    with receiving(SECRET) as receiver:
        hasty = webhook(organization, f"{receiver.url}/hang", timeout_seconds=1, retry_schedule=[])
        failing = webhook(organization, f"{receiver.url}/status/503", retry_schedule=[1_000, 2_000])
        accept(organization)
        assert send_due() == 2
    given_up = Delivery.objects.get(subscription=hasty)
    assert (given_up.status, given_up.last_error) == (DeliveryStatus.DEAD_LETTER, "timeout")
    retried = Delivery.objects.get(subscription=failing)
    assert retried.status == DeliveryStatus.RETRYING
    assert retried.next_attempt_at is not None
    assert 900 < (retried.next_attempt_at - retried.created_at).total_seconds() < 1_300
