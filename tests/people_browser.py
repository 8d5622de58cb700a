"""A real browser for the admin and the account pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
PHONE = {"width": 390, "height": 800}
needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs a browser: install Debian's package chromium")
# The search field of Django's lists is labelled by a picture, which its own sheet hides on a phone; a hint stays.
OF_DJANGO = {"label-title-only"}


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

    def barriers(self) -> list[str]:
        """What axe calls serious or critical."""
        before = len(self.complaints)
        found = Axe().run(self.page).response["violations"]
        # axe reads sheets again by ways that the policy forbids to pages.
        self.page.wait_for_timeout(100)
        del self.complaints[before:]
        return [
            f"{each['id']}: {each['nodes'][0]['html'][:150]}"
            for each in found
            if each["impact"] in {"serious", "critical"} and each["id"] not in OF_DJANGO
        ]

    def has_no_sideways_scroll(self) -> bool:
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


@contextmanager
def open_tab(base_url: str, **options: Any) -> Iterator[Tab]:
    """Signed in as nobody; `options` are of the browser's context. Fails when the browser has complained."""
    # Playwright runs an event loop in this thread; Django would refuse to talk to the database beside it.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_context(**options).new_page()
        tab = Tab(page=page, base_url=base_url)
        page.on("console", tab.note)
        page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        page.on("request", lambda request: tab.addresses.append(request.url))
        try:
            yield tab
        finally:
            browser.close()
    assert not tab.complaints, tab.complaints
    assert [address for address in tab.addresses if not address.startswith((base_url, "data:"))] == []
