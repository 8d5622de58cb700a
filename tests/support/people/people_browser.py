"""A real browser for the admin and the account pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from django.db import connections
from playwright.sync_api import ConsoleMessage, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
PHONE = {"width": 390, "height": 800}
needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs a browser: install Debian's package chromium")
# By rule, what the element has in it: Django's script for choosing among many adds a hint as a picture with a name.
OF_DJANGO = {"aria-prohibited-attr": "help-tooltip"}
# Playwright bounds visits and clicks, but not scripts: these two end by themselves.
_AT_REST = """Promise.race([
  Promise.allSettled(document.getAnimations()
    .filter((each) => each instanceof CSSTransition).map((each) => each.finished)),
  new Promise((done) => setTimeout(done, 2000)),
])"""
_AXE = """(options) => Promise.race([
  axe.run(options).then((found) => found.violations),
  new Promise((_, fail) => setTimeout(() => fail(new Error('axe takes too long')), 20000)),
])"""


@dataclass
class Tab:
    """A page that notes what the browser complains of, and every address that it asks for."""

    page: Page
    base_url: str
    complaints: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    def note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} {message.location}")

    def go(self, path: str) -> Page:
        self.page.goto(f"{self.base_url}{path}")
        return self.page

    def sign_in(self, username: str, password: str, path: str = "/admin/login/") -> Page:
        page = self.go(path)
        page.fill("input[name=username]", username)
        page.fill("input[name=password]", password)
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: path not in url)
        return page

    def barriers(self, *rules: str) -> list[str]:
        """What axe objects to; by all its rules, or by some."""
        # Colours that are still changing are neither the old nor the new ones.
        self.page.evaluate(_AT_REST)
        # Without `preload` axe would read sheets again by ways that the policy forbids to pages.
        options = {"resultTypes": ["violations"], "preload": False, **({"runOnly": list(rules)} if rules else {})}
        found = self.page.evaluate(_AXE, options)
        return [
            f"{each['id']}: {node['html'][:150]}"
            for each in found
            for node in each["nodes"]
            if each["id"] not in OF_DJANGO or OF_DJANGO[each["id"]] not in node["html"]
        ]

    def overhang(self) -> int:
        """By how many pixels the page is wider than its window."""
        wide: int = self.page.evaluate("document.scrollingElement.scrollWidth - document.documentElement.clientWidth")
        return wide


@contextmanager
def open_tab(base_url: str, **options: Any) -> Iterator[Tab]:
    """Signed in as nobody; `options` are of the browser's context. Fails when the browser has complained."""
    # Playwright runs an event loop in this thread; Django would refuse to talk to the database beside it.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_context(**options).new_page()
        # With each page, for barriers(): sent to it afterwards, the script takes longer than most pages.
        page.add_init_script(AXE_SCRIPT)
        tab = Tab(page=page, base_url=base_url)
        page.on("console", tab.note)
        page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        page.on("request", lambda request: tab.addresses.append(request.url))
        try:
            yield tab
        finally:
            browser.close()
            # Beside a running loop Django has connections of their own, which nobody else would close.
            connections.close_all()
    assert not tab.complaints, tab.complaints
    assert [address for address in tab.addresses if not address.startswith((base_url, "data:"))] == []
