"""The commands and programs of the pages for newcomers, run as they stand there against a real `manage.py up`.

tests/pages.py says how a page marks its blocks. All blocks of a page share one shell. Only the two ports are exchanged.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

from tests.pages import Block, blocks
from tests.test_up import Launch, Platform, _free_port, data, launch  # noqa: F401 - the last two are fixtures

_PAGES = ("quickstart", "sending", "receiving")
_MARK = "--- end of step"
_SECONDS = 90.0


def test_the_pages_do_what_they_show(launch: Launch, data: Path) -> None:  # noqa: F811
    platform = launch(data, _free_port())
    for page in _PAGES:
        _follow(page, platform)
    _see_the_event_in_the_console(platform)
    assert platform.stop() == 0


def _follow(page: str, platform: Platform) -> None:
    """Do all that a page says, in a folder of its own, and compare what it shows."""
    steps = list(_steps(page, platform.port))
    folder = platform.data.parent / page
    folder.mkdir()
    (folder / ".data").symlink_to(platform.data)
    for block in steps:
        if block.kind == "file":
            (folder / block.argument).write_text(block.text)
    runs = [block for block in steps if block.kind == "run" and block.can_run()]
    assert runs, f"{page} has nothing to run"
    printed = iter(_shell(folder, runs))
    output = ""
    for block in steps:
        if block.kind == "run":
            output = next(printed) if block.can_run() else ""
        elif block.kind == "shows" and output:
            pattern = re.escape(block.text).replace("…", ".+")
            assert re.fullmatch(pattern, output.rstrip("\n") + "\n"), f"{page} shows\n{block.text}\nbut it is\n{output}"


def _shell(folder: Path, runs: list[Block]) -> list[str]:
    """What each block printed; the pages' python3 is the one of the tests."""
    (folder / "bin").mkdir()
    (folder / "bin/python3").symlink_to(sys.executable)
    script = "\n".join([f"PATH={folder}/bin:$PATH", *(f"{block.text}\necho; echo '{_MARK}'" for block in runs)])
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [part.strip("\n") for part in done.stdout.split(f"{_MARK}\n")]


def _steps(page: str, port: int) -> Iterator[Block]:
    receiver = _free_port()
    found = blocks(f"docs/{page}.md")
    assert any("127.0.0.1:8000" in block.text for block in found), f"{page} names no address of the platform"
    for block in found:
        ours = block.text.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        yield replace(block, text=re.sub(r'(127\.0\.0\.1(?:", |:))9000', rf"\g<1>{receiver}", ours))


def _see_the_event_in_the_console(platform: Platform) -> None:
    demo = platform.demo()
    opener = build_opener(HTTPCookieProcessor(CookieJar()))

    def page(path: str, form: dict[str, str] | None = None) -> str:
        address = demo["base_url"] + path
        body = urlencode(form).encode() if form else None
        with opener.open(Request(address, body, {"Referer": address}), timeout=_SECONDS) as answer:
            return str(answer.read().decode())

    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page("/console/sign-in/"))
    assert token
    page(
        "/console/sign-in/",
        {
            "csrfmiddlewaretoken": token[1],
            "username": demo["admin_username"],
            "password": demo["admin_password"],
        },
    )
    assert "invoice.paid" in unescape(page("/console/o/demo/events/"))
