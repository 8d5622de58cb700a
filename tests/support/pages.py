"""The fenced blocks of the documentation, and what the tests do with each.

An HTML comment on the line before a block says it:

- `<!-- run -->`: the page's blocks are run in one shell, one after another (tests/docs/test_quickstart.py);
  `<!-- run: needs node -->` only where that program is installed;
- `<!-- run by: test_backup.py -->`: that test takes the block from the page and runs it as it stands;
- `<!-- file: NAME -->`: the block is saved under that name for the others;
- `<!-- shows -->`: what the block before it printed, with `…` for what differs;
- `<!-- not run: REASON -->`: no test can run it, and why.

Every block in a language of shells has one; tests/docs/test_documents.py holds to it. What is marked `not run` is
listed in docs/untested-commands.md, which scripts/write_untested_page.py writes.
"""

import re
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from installation.local.data_dir import CHECKOUT

_BLOCK = re.compile(
    r"^(?P<indent>[ ]*)(?:<!--[ ](?P<kind>file|run[ ]by|run|shows|not[ ]run)(?::[ ](?P<argument>.+?))?[ ]-->\n[ ]*)?"
    r"```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)

# What a newcomer follows from the first to the last command.
PAGES_TO_FOLLOW = (
    "README.md",
    "docs/quickstart.md",
    "docs/sending.md",
    "docs/receiving.md",
    "docs/python.md",
    "docs/evp.md",
)
SHELLS = frozenset({"sh", "bash", "console", "shell"})


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block. `kind` is empty when no comment stands before it; `line` counts from 1."""

    kind: str
    argument: str
    language: str
    text: str
    line: int

    def can_run(self) -> bool:
        """Whether the program that the block needs is there; True when it names none."""
        program = self.argument.removeprefix("needs ")
        return not self.argument or shutil.which(program) is not None


def all_pages() -> list[str]:
    """Every page for people, as a path in the checkout. Reports that a program writes are none."""
    folders = [path for path in (CHECKOUT / "docs").rglob("*.md") if path.parent != CHECKOUT / "docs/benchmarks"]
    found = [*(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")), *sorted(folders)]
    return [str(Path(path).relative_to(CHECKOUT)) for path in found]


def blocks(page: str) -> list[Block]:
    """All blocks of a page, given as a path in the checkout: `docs/quickstart.md`."""
    text = (CHECKOUT / page).read_text()
    return [
        Block(
            kind=found["kind"] or "",
            argument=found["argument"] or "",
            language=found["language"],
            text=textwrap.dedent(found["text"]),
            line=text.count("\n", 0, found.start()) + 1,
        )
        for found in _BLOCK.finditer(text)
    ]


def run_by(page: str, test: str) -> list[Block]:
    """The blocks of a page that `test` (a file name) runs, in their order. None is a fault: nothing would be tested."""
    found = [block for block in blocks(page) if (block.kind, block.argument) == ("run by", test)]
    assert found, f"{page} has no block that is marked `run by: {test}`"
    return found


def files_of_tests(name: str) -> list[Path]:
    """The files of this name anywhere below tests/: one, as a page names a test without its folder."""
    return sorted((CHECKOUT / "tests").rglob(name))


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A command line or a word in backticks, and where it stands. `whole`: it could be pasted as it is."""

    text: str
    place: str
    whole: bool


@cache
def pieces_of_pages() -> tuple[Piece, ...]:
    return tuple(piece for page in all_pages() for piece in _pieces(page))


def _pieces(page: str) -> Iterator[Piece]:
    text = (CHECKOUT / page).read_text()
    for block in blocks(page):
        if block.language in SHELLS:
            for line in block.text.replace("\\\n", " ").splitlines():
                yield Piece(text=line, place=f"{page}:{block.line}", whole=True)
    prose = re.sub(r"^[ ]*```.*?^[ ]*```$", lambda found: "\n" * found[0].count("\n"), text, flags=re.M | re.S)
    for found in re.finditer(r"`([^`]+)`", prose):
        number = prose.count("\n", 0, found.start()) + 1
        yield Piece(text=" ".join(found[1].split()), place=f"{page}:{number}", whole=False)
