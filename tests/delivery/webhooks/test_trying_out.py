"""Tests of webhooks whose endpoints take their time, on a really running server: whom they keep waiting."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from django.test import Client as Browser

from core import bounds
from core.secrets import encrypt_secret
from delivery.models import Subscription
from delivery.webhooks.signing import generate_secret
from organizations.models import Organization, Role
from tests.conftest import make_tenant
from tests.factories import make_webhook
from tests.support.http.clients import Client, make_sender
from tests.support.http.receiver import Receiver, receiving
from tests.support.people.console_site import as_role
from tests.support.people.portal_visits import TAG, enter
from tests.support.servers import Server, serve

pytestmark = pytest.mark.django_db(transaction=True)
OF_ONE = bounds.MAX_WEBHOOK_TESTS_OF_ONE
# As many as there are places for the API, and one address has for pages: one of the console, one of the portal.
COUNT = bounds.MAX_API_REQUESTS + bounds.MAX_PAGE_REQUESTS_OF_ONE


@pytest.fixture
def endpoint() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(workers=1, WEBHOOK_ALLOW_HTTP="true", WEBHOOK_ALLOWED_NETWORKS="127.0.0.1/32") as server:
        yield server


def make_slow(organization: Organization, endpoint: Receiver) -> Subscription:
    """A webhook whose endpoint answers once it has got one request more than the tests."""
    url, secret = f"{endpoint.url}/together/{COUNT + 1}", encrypt_secret(generate_secret())
    return make_webhook(organization, url=url, secret=secret, tags=[TAG])


def form_of(browser: Browser, path: str) -> tuple[Any, ...]:
    """What asks a server for a test, from the page at this path."""
    [token] = set(re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', browser.get(path).content.decode()))
    form = urlencode({"csrfmiddlewaretoken": token, "type": "webhook.test", "payload": "{}"})
    cookies = "; ".join(f"{name}={cookie.value}" for name, cookie in browser.cookies.items())
    return "POST", path, form, {"Cookie": cookies, "Content-Type": "application/x-www-form-urlencoded"}


def ask(url: str, *request: Any) -> tuple[int, str]:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.request(*request)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def try_out(server: Server, key: str | None, webhook: Subscription) -> Any:
    return Client(server.base_url, key).post(f"/api/v1/subscriptions/{webhook.pk}/test", {}).json()


def test_tests_that_wait_for_their_endpoints_keep_no_place_from_others(server: Server, endpoint: Receiver) -> None:
    tenant = make_tenant()
    shown = make_slow(tenant.organization, endpoint)
    site, visitor = as_role(tenant.organization, Role.OWNER), enter(tenant)
    forms = [
        form_of(site.client, site.url(f"subscriptions/{shown.pk}/test")),
        form_of(visitor.client, f"/portal/subscriptions/{shown.pk}/test"),
    ]
    senders = [make_sender(server.base_url) for _ in range(bounds.MAX_API_REQUESTS // OF_ONE)]
    webhooks = [(sender.client.key, make_slow(sender.organization, endpoint)) for sender in senders]
    with ThreadPoolExecutor(COUNT) as threads:
        pages = [threads.submit(ask, server.base_url, *form) for form in forms]
        answers = [threads.submit(try_out, server, *webhook) for webhook in webhooks for _ in range(OF_ONE)]
        try:
            endpoint.wait_for(COUNT)
            others = [
                each.client.get("/api/v1/subscriptions").status for each in (make_sender(server.base_url), *senders)
            ]
            sign_in, _ = ask(server.base_url, "GET", "/console/sign-in/")
            assert not any(each.done() for each in (*pages, *answers))
        finally:
            ask(endpoint.url, "GET", "/ok")
        assert {sign_in, *others} == {200}
        assert all(answer.result()["delivered"] for answer in answers)
        assert all("taken with others" in page for _, page in [each.result() for each in pages])
