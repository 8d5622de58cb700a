"""CONTRIBUTING.md tells where the usual changes go; each file that it names knows the example of its row."""

import re
from pathlib import Path

import pytest

from installation.local.data_dir import CHECKOUT

MOST_FILES = 8
_PATH = re.compile(r"`((?:[a-z_.-]+/)+[a-z_.-]+\.[a-z]+)`")


def rows() -> list[tuple[str, list[Path], str]]:
    """Each change, its files, and its example."""
    _, _, section = (CHECKOUT / "CONTRIBUTING.md").read_text().partition("## Where a change goes")
    found = []
    for line in section.partition("\n## ")[0].splitlines():
        if line.startswith("| A"):
            _, change, files, example, _ = line.split("|")
            found.append((change.strip(), [CHECKOUT / path for path in _PATH.findall(files)], example.strip(" `")))
    return found


def test_there_are_ten() -> None:
    assert len(rows()) == 10


@pytest.mark.parametrize(("change", "files", "example"), rows(), ids=lambda value: value if type(value) is str else "")
def test_every_file_of_a_change_knows_its_example(change: str, files: list[Path], example: str) -> None:
    assert 0 < len(files) <= MOST_FILES, change
    silent = [path.name for path in files if not re.search(rf"(?i){example}", path.read_text())]
    assert silent == []
