"""Somebody who came into the portal by a link."""

import re
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.test import Client

from delivery.models import Subscription
from tests.conftest import Tenant
from tests.factories import make_webhook

TAG = "customer-42"


@dataclass
class Visitor:
    """A browser with a session; `client` has no other cookie."""

    client: Client

    def get(self, path: str = "", **headers: str) -> Any:
        return self.client.get(f"/portal/{path}", headers=headers)

    def send(self, path: str, page: str = "", **values: str) -> Any:
        """A form, with the token that the page `page` has."""
        [token] = set(re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', self.get(page).content.decode()))
        return self.client.post(f"/portal/{path}", {"csrfmiddlewaretoken": token, **values})


def make_link(tenant: Tenant, **body: Any) -> str:
    """The path of a new link, which manages the subscriptions with TAG unless `body` says otherwise."""
    wanted = body if "subscriptions" in body else {"tag": TAG, **body}
    answer = tenant.post("/api/v1/portal-links", {"permissions": ["manage"], **wanted})
    assert answer.status_code == 201, answer.content
    return str(answer.json()["url"]).removeprefix(settings.PUBLIC_URL)


def enter(tenant: Tenant, **body: Any) -> Visitor:
    client = Client()
    answer = client.get(make_link(tenant, **body))
    assert answer.status_code == 302, answer.content
    return Visitor(client)


def make_tagged(tenant: Tenant, *, tag: str = TAG, **values: Any) -> Subscription:
    return make_webhook(tenant.organization, tags=[tag], **values)
