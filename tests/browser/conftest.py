"""A browser for the tests of a module, and a visit of the console in it."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.conftest import Tenant
from tests.support.people.console_visit import Visit, open_visit
from tests.support.people.people_browser import CHROMIUM


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Playwright runs an event loop in this thread; Django would refuse to talk to the database beside it.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        launched = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def visit(browser: Browser, live_server: Any, tenant: Tenant) -> Iterator[Visit]:
    """As a member, in Vienna."""
    with open_visit(browser, live_server.url, tenant) as found:
        yield found
