"""The documentation: each command is run by a test or says why not, other blocks are well formed, the site builds."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from installation.local.data_dir import CHECKOUT
from rest.openapi.document import build_document
from scripts import write_api_page, write_sizing_page, write_untested_page
from tests.support.pages import PAGES_TO_FOLLOW, SHELLS, Block, all_pages, blocks, files_of_tests

# What a browser loads by itself, unlike a link that a person follows.
_LOADED = re.compile(
    r"<(?:script|img|iframe)\b[^>]*\bsrc=\"?(https?:)?//|<link\b[^>]*stylesheet[^>]*\bhref=\"?(https?:)?//"
)
_MARK = re.compile(r"<!-- *(?:file|run|shows|not run)\b")


@pytest.mark.parametrize("page", all_pages())
def test_each_command_is_run_by_a_test_or_says_why_not(page: str) -> None:
    found = [(block, _complaint(page, block)) for block in blocks(page)]
    assert [f"{page}:{block.line}: {complaint}" for block, complaint in found if complaint] == []


def _complaint(page: str, block: Block) -> str:
    """What is wrong with the mark of a block, or nothing."""
    match block.kind:
        case "" if block.language in SHELLS:
            return "a command without a mark: tests/support/pages.py says which there are"
        case "run" if page not in PAGES_TO_FOLLOW:
            return "marked `run`, but no test follows this page"
        case "run by":
            tests = files_of_tests(block.argument)
            if len(tests) != 1:
                return f"there is no {block.argument}, or more than one"
            if page not in tests[0].read_text():
                return f"{block.argument} does not name this page, so it takes no block from it"
        case "not run" if len(block.argument.split()) < 3:
            return "the reason why it is not run is missing"
    return ""


@pytest.mark.parametrize("page", all_pages())
def test_each_mark_belongs_to_a_block_and_each_fence_is_read(page: str) -> None:
    """A mark that is mistyped, or does not stand on the line before its block, would be no mark."""
    text = (CHECKOUT / page).read_text()
    found = blocks(page)
    assert len(_MARK.findall(text)) == len([block for block in found if block.kind])
    assert len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)) == 2 * len(found)


def test_blocks_of_data_and_programs_are_well_formed() -> None:
    checked = {language for page in all_pages() for language in _check(page)}
    assert {"json", "python"} <= checked


def _check(page: str) -> Iterator[str]:
    for block in blocks(page):
        try:
            match block.language:
                case "json":
                    json.loads(block.text)
                case "yaml":
                    list(yaml.safe_load_all(block.text))
                case "python":
                    compile(block.text, page, "exec")
                case language if language in SHELLS:
                    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True, capture_output=True)
        except (ValueError, SyntaxError, yaml.YAMLError, subprocess.CalledProcessError) as error:
            raise AssertionError(f"{page}:{block.line}: {getattr(error, 'stderr', '') or error}") from error
        yield block.language


def test_the_api_page_is_current() -> None:
    assert write_api_page.PAGE.read_text() == write_api_page.render(build_document()), "run `make docs`"


def test_the_page_of_untested_commands_is_current() -> None:
    assert write_untested_page.PAGE.read_text() == write_untested_page.render(), "run `make docs`"


def test_the_page_of_sizing_tells_what_was_measured() -> None:
    assert write_sizing_page.PAGE.read_text() == write_sizing_page.render(), "run `make docs`"


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


@pytest.mark.parametrize("page", [page for page in all_pages() if "/" not in page])
def test_links_outside_the_site_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(((?!https?:|#)[^)#]+)", (CHECKOUT / page).read_text())
    assert [link for link in links if not (CHECKOUT / link).exists()] == []
