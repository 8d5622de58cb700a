"""Write docs/untested-commands.md: the commands of the documentation that no test runs, and why.

`python -m scripts.write_untested_page` writes it; a test fails when the page is not what this makes.
"""

from collections.abc import Iterator
from pathlib import Path

from tests.support.pages import SHELLS, Block, all_pages, blocks

PAGE = Path(__file__).parent.parent / "docs/untested-commands.md"
_HEAD = """\
# Commands that no test runs

<!-- Made by scripts/write_untested_page.py from the marks in the pages: do not edit. -->

The tests take the commands of these pages and run them as they stand there. These are the others: try them yourself
before you rely on them.

| page | command | why no test runs it |
|---|---|---|
"""
_FOOT = """
These run only on a machine that has the program:

| page | command | needs |
|---|---|---|
"""


def render() -> str:
    """The page: a row for each block that does not run everywhere, in the order of the pages."""
    untested, conditional = [], []
    for page, block in _commands():
        row = f"| {_link(page)} | {_cell(block)} |"
        if block.kind == "not run":
            untested.append(f"{row} {block.argument} |\n")
        elif block.kind == "run" and block.argument:
            conditional.append(f"{row} {block.argument.removeprefix('needs ')} |\n")
    return _HEAD + "".join(untested) + (_FOOT + "".join(conditional) if conditional else "")


def _commands() -> Iterator[tuple[str, Block]]:
    for page in all_pages():
        yield from ((page, block) for block in blocks(page) if block.language in SHELLS)


def _link(page: str) -> str:
    """The site has the pages below docs/ only."""
    return f"[{page}]({page.removeprefix('docs/')})" if page.startswith("docs/") else page


def _cell(block: Block) -> str:
    """The first line of each command; its comment and what is fed to it are left out."""
    lines = [line.partition("  #")[0].rstrip(" \\") for line in block.text.splitlines()]
    commands = [line for line in lines if line and not line.startswith(("#", " "))]
    return "<br>".join(f"`{line}`" for line in commands).replace("|", "\\|")


def main() -> None:
    PAGE.write_text(render())


if __name__ == "__main__":
    main()
