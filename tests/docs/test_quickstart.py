"""The commands and programs of the pages for newcomers, run as they stand there against a real `make run`.

tests/support/pages.py says how a page marks its blocks. All blocks of a page share one shell. Only the two ports are
exchanged.
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

import pytest

from installation.local.data_dir import CHECKOUT
from tests.support.machines.platforms import Launch, Platform, data_folder, launching, processes_of
from tests.support.pages import PAGES_TO_FOLLOW, Block, blocks, run_by
from tests.support.servers import free_port

pytestmark = pytest.mark.slow

_MARK = "--- end of step"
# Only a deadline: a page starts some thirty programs.
_SECONDS = 300.0
# The environment of the tests has everything installed already: make must not look whether it is current.
# The Python client is on the path as if it were installed; evp keeps what it knows in the folder of the run.
_PYTHON = f"""\
#!/bin/sh
export PYTHONPATH={CHECKOUT}/clients/python/src XDG_CONFIG_HOME={{folder}} XDG_STATE_HOME={{folder}}
exec {sys.executable} {{arguments}} "$@"
"""
_MAKE = f"""\
#!/bin/sh
exec {{make}} --directory={CHECKOUT} --assume-old=.venv/.installed PYTHON={sys.executable} "$@"
"""


@pytest.fixture
def data() -> Iterator[Path]:
    with data_folder() as folder:
        yield folder


@pytest.fixture
def launch(data: Path) -> Iterator[Launch]:
    with launching(data.parent) as start:
        yield start


def test_the_pages_do_what_they_show(launch: Launch, data: Path) -> None:
    (readme,) = run_by("README.md", "test_quickstart.py")
    (quickstart,) = run_by("docs/quickstart.md", "test_quickstart.py")
    assert readme.text.split()[:2] == quickstart.text.split()[:2] == ["make", "run"]
    platform = launch(data, free_port(), ["bash", "-c", f"PATH={_programs(data.parent)}:$PATH\n{readme.text}"])
    for page in PAGES_TO_FOLLOW:
        _follow(page, platform)
    _paste_what_was_printed(platform)
    _see_the_event_in_the_console(platform)
    platform.press_control_c()
    assert processes_of(data) == []
    assert "Traceback" not in platform.log.read_text()


def _programs(parent: Path) -> Path:
    """A folder for the front of PATH: a make that installs nothing, the Python of the tests as python3, and evp."""
    folder = parent / "bin"
    folder.mkdir()
    (folder / "python3").write_text(_PYTHON.format(folder=parent, arguments=""))
    (folder / "evp").write_text(_PYTHON.format(folder=parent, arguments="-m events_client.cli.main"))
    make = subprocess.run(["sh", "-c", "command -v make"], check=True, capture_output=True, text=True).stdout.strip()
    (folder / "make").write_text(_MAKE.format(make=make))
    for program in folder.iterdir():
        program.chmod(0o755)
    return folder


def _follow(page: str, platform: Platform) -> None:
    """Do all that a page says, in a folder of its own, and compare what it shows."""
    steps = list(_steps(page, platform.port))
    folder = platform.data.parent / Path(page).stem
    folder.mkdir()
    (folder / ".data").symlink_to(platform.data)
    for block in steps:
        if block.kind == "file":
            (folder / block.argument).write_text(block.text)
    runs = [block for block in steps if block.kind == "run" and block.can_run()]
    assert runs, f"{page} has nothing to run"
    printed = iter(_shell(folder, [block.text for block in runs]))
    output = ""
    for block in steps:
        if block.kind == "run":
            output = next(printed) if block.can_run() else ""
        elif block.kind == "shows" and output:
            pattern = re.escape(block.text).replace("…", ".+")
            assert re.fullmatch(pattern, output.rstrip("\n") + "\n"), f"{page} shows\n{block.text}\nbut it is\n{output}"


def _shell(folder: Path, commands: list[str]) -> list[str]:
    """What each printed, one shell for all of them."""
    script = "\n".join([f"PATH={folder.parent}/bin:$PATH", *(f"{text}\necho; echo '{_MARK}'" for text in commands)])
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
    receiver = free_port()
    found = blocks(page)
    assert any("127.0.0.1:8000" in block.text for block in found), f"{page} names no address of the platform"
    for block in found:
        ours = block.text.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        yield replace(block, text=re.sub(r'(127\.0\.0\.1(?:", |:))9000', rf"\g<1>{receiver}", ours))


def _paste_what_was_printed(platform: Platform) -> None:
    (line,) = re.findall(r"curl -sS .*", platform.log.read_text())
    (answer, _) = _shell(platform.data.parent, [line])
    assert '"status":"accepted"' in answer


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
