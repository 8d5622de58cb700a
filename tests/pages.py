"""The fenced blocks of the documentation, and what the tests do with each.

An HTML comment on the line before a block says it:

- `<!-- run -->`: the page's blocks are run in one shell, one after another (tests/test_quickstart.py);
  `<!-- run: needs node -->` only where that program is installed;
- `<!-- run by: test_backup.py -->`: that test takes the block from the page and runs it as it stands;
- `<!-- file: NAME -->`: the block is saved under that name for the others;
- `<!-- shows -->`: what the block before it printed, with `…` for what differs;
- `<!-- not run: REASON -->`: no test can run it, and why.

Every block in the language `sh` has one; tests/test_documents.py holds to it.
"""

import re
import shutil
import textwrap
from dataclasses import dataclass

from events_platform.up.data_dir import CHECKOUT

_BLOCK = re.compile(
    r"^(?P<indent>[ ]*)(?:<!--[ ](?P<kind>file|run[ ]by|run|shows|not[ ]run)(?::[ ](?P<argument>.+?))?[ ]-->\n[ ]*)?"
    r"```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


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
    """The blocks of a page that `test` (a file name) runs, in their order."""
    return [block for block in blocks(page) if (block.kind, block.argument) == ("run by", test)]
