"""The console in a real browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page

from organizations.models import Role
from tests.conftest import Tenant
from tests.support.people.console_data import browser_of, make_member


@dataclass
class Visit:
    """A signed-in page that notes what goes wrong in it."""

    page: Page
    base_url: str
    prefix: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def go(self, path: str = "") -> Page:
        self.page.goto(f"{self.base_url}{self.prefix}{path}")
        return self.page

    def check(self) -> None:
        assert self.complaints == []
        assert [url for url in self.requests if not url.startswith((self.base_url, "data:"))] == []


@contextmanager
def open_visit(
    browser: Browser, base_url: str, tenant: Tenant, user: User | None = None, **options: Any
) -> Iterator[Visit]:
    """A browser context of its own, for a new member of the tenant unless `user` is somebody."""
    client = browser_of(user or make_member(tenant.organization, Role.MEMBER))
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    with browser.new_context(timezone_id="Europe/Vienna", locale="en-GB", **options) as context:
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": base_url}])
        page = context.new_page()
        visit = Visit(page=page, base_url=base_url, prefix=f"/console/o/{tenant.organization.slug}/")
        page.on("console", lambda message: visit.complaints.append(message.text))
        page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        page.on("request", lambda request: visit.requests.append(request.url))
        yield visit
