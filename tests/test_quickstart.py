"""The commands and programs of the pages for newcomers, run as they stand there against a real `manage.py up`.

In a page, an HTML comment before a fenced block says what it is: `<!-- file: NAME -->` is saved, `<!-- run -->` is run
(`<!-- run: needs node -->` where that program is installed), `<!-- shows -->` is what the block before printed, with
`…` for what differs. All blocks of a page share one shell. Only the two ports are exchanged.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

from events_platform.up.data_dir import CHECKOUT
from tests.test_up import Launch, Platform, _free_port, data, launch  # noqa: F401 - the last two are fixtures

_PAGES = ("quickstart", "sending", "receiving")
_BLOCK = re.compile(r"^<!-- (file|run|shows)(?:: (.+?))? -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "--- end of step"
_SECONDS = 90.0


@dataclass(frozen=True)
class Block:
    kind: str
    argument: str
    text: str

    def can_run(self) -> bool:
        program = self.argument.removeprefix("needs ")
        return not self.argument or shutil.which(program) is not None


def test_the_pages_do_what_they_show(launch: Launch, data: Path) -> None:  # noqa: F811
    platform = launch(data, _free_port())
    for page in _PAGES:
        _follow(page, platform)
    _see_the_event_in_the_console(platform)
    assert platform.stop() == 0


def _follow(page: str, platform: Platform) -> None:
    """Do all that a page says, in a folder of its own, and compare what it shows."""
    blocks = list(_blocks(page, platform.port))
    folder = platform.data.parent / page
    folder.mkdir()
    (folder / ".data").symlink_to(platform.data)
    for block in blocks:
        if block.kind == "file":
            (folder / block.argument).write_text(block.text)
    runs = [block for block in blocks if block.kind == "run" and block.can_run()]
    assert runs, f"{page} has nothing to run"
    printed = iter(_shell(folder, runs))
    output = ""
    for block in blocks:
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


def _blocks(page: str, port: int) -> Iterator[Block]:
    text = (CHECKOUT / f"docs/{page}.md").read_text()
    assert text.count("127.0.0.1:8000"), f"{page} names no address of the platform"
    receiver = _free_port()
    for kind, argument, block in _BLOCK.findall(text):
        ours = block.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        yield Block(kind, argument, re.sub(r'(127\.0\.0\.1(?:", |:))9000', rf"\g<1>{receiver}", ours))


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
