"""The documentation: it builds as a site without a broken link or anything from elsewhere, and is current."""

import os
import re
import subprocess
import sys
from pathlib import Path

from events_platform.up.data_dir import CHECKOUT
from rest.openapi import build_document
from scripts.write_api_page import PAGE, render

# What a browser loads by itself, unlike a link that a person follows.
_LOADED = re.compile(
    r"<(?:script|img|iframe)\b[^>]*\bsrc=\"?(https?:)?//|<link\b[^>]*stylesheet[^>]*\bhref=\"?(https?:)?//"
)


def test_the_api_page_is_current() -> None:
    assert PAGE.read_text() == render(build_document()), "run `make docs`"


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=CHECKOUT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert (tmp_path / "site/quickstart.html") in pages
    assert [page.name for page in pages if _LOADED.search(page.read_text())] == []


def test_links_of_the_readme_lead_somewhere() -> None:
    links = re.findall(r"\]\(((?!https?:|#)[^)#]+)", (CHECKOUT / "README.md").read_text())
    assert links
    assert [link for link in links if not (CHECKOUT / link).exists()] == []
