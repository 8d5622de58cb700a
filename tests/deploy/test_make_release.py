"""`make release`: a dated section, the version, a commit and a tag; or one line that says why not, and no change."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from installation.local.data_dir import CHECKOUT

CHANGELOG = """# Changelog

For operators and tenants.

## Unreleased

- Something new.

### What you must do

Nothing.

## 0.1.0 – 2026-11-01

- First version.
"""


class Clone:
    """A repository with what a release needs of this one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("scripts/release.py", "core/version.py", "Makefile"):
            (root / name).parent.mkdir(exist_ok=True)
            shutil.copy(CHECKOUT / name, root / name)
        version = root / "core/version.py"
        version.write_text(re.sub(r'(?m)^VERSION = ".*"$', 'VERSION = "0.1.9"', version.read_text()))
        (root / "CHANGELOG.md").write_text(CHANGELOG)
        self.git("init", "--quiet", "--initial-branch=main")
        for name, value in (("user.name", "A"), ("user.email", "a@example.com"), ("commit.gpgSign", "false")):
            self.git("config", name, value)
        self.commit_all("First")

    def git(self, *arguments: str) -> str:
        run = subprocess.run(["git", *arguments], cwd=self.root, check=True, capture_output=True, text=True)
        return run.stdout.strip()

    def commit_all(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def release(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "scripts/release.py", *arguments]
        return subprocess.run(command, cwd=self.root, check=False, capture_output=True, text=True)

    def state(self) -> tuple[str, str, str]:
        return self.git("rev-parse", "HEAD"), self.git("tag"), self.git("status", "--porcelain")


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_a_release_closes_the_changelog_sets_the_version_and_tags(clone: Clone) -> None:
    released = clone.release("0.1.10")  # newer than 0.1.9, though not for those who compare letters
    assert (released.returncode, released.stderr) == (0, "")
    assert "git push origin main v0.1.10" in released.stdout
    changelog = (clone.root / "CHANGELOG.md").read_text()
    assert re.search(r"## Unreleased\n\n## 0\.1\.10 – \d{4}-\d\d-\d\d\n\n- Something new\.\n\n### What", changelog)
    assert "\n\n## 0.1.0 – 2026-11-01\n\n- First version.\n" in changelog
    assert 'VERSION = "0.1.10"\n' in (clone.root / "core/version.py").read_text()
    assert clone.git("log", "-1", "--format=%s") == "Release 0.1.10"
    assert clone.git("status", "--porcelain") == ""
    assert clone.git("cat-file", "-t", "v0.1.10") == "tag"
    assert clone.git("rev-parse", "v0.1.10^{commit}") == clone.git("rev-parse", "HEAD")
    message = clone.git("for-each-ref", "--format=%(contents)", "refs/tags/v0.1.10")
    assert message == "0.1.10\n\n- Something new.\n\n### What you must do\n\nNothing."

    again = clone.release("0.1.11")
    assert (again.returncode, again.stderr.splitlines()[0]) == (
        1,
        'Not released: "Unreleased" in CHANGELOG.md is empty: write what operators and tenants will notice.',
    )


def _dirty(clone: Clone) -> None:
    (clone.root / "new.txt").write_text("")


def _elsewhere(clone: Clone) -> None:
    clone.git("checkout", "--quiet", "-b", "topic")


def _tagged(clone: Clone) -> None:
    clone.git("tag", "v0.2.0")


def _hooked(clone: Clone) -> None:
    hook = clone.root / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho No. >&2\nexit 1\n")
    hook.chmod(0o755)


def _nothing(clone: Clone) -> None:
    pass


@pytest.mark.parametrize(
    ("spoil", "version", "reason"),
    [
        (_dirty, "0.2.0", "there are changes that are not committed:\n?? new.txt"),
        (_elsewhere, "0.2.0", "releases are made on main; this is topic."),
        (_tagged, "0.2.0", "the tag v0.2.0 exists."),
        (_hooked, "0.2.0", "git commit failed: No."),
        (_nothing, "0.1.9", "0.1.9 is not newer than 0.1.9, which core/version.py has."),
        (_nothing, "0.1.8", "0.1.8 is not newer than 0.1.9, which core/version.py has."),
        (_nothing, "1.0.0", "'1.0.0' is not of the form 0.MINOR.PATCH, such as 0.2.0."),
        (_nothing, "v0.2.0", "'v0.2.0' is not of the form 0.MINOR.PATCH, such as 0.2.0."),
        (_nothing, "0.02.0", "'0.02.0' is not of the form 0.MINOR.PATCH, such as 0.2.0."),
    ],
)
def test_what_must_not_be_released_is_refused_and_changes_nothing(
    clone: Clone, spoil: Callable[[Clone], None], version: str, reason: str
) -> None:
    spoil(clone)
    before = clone.state()
    refused = clone.release(version)
    assert (refused.returncode, refused.stderr) == (1, f"Not released: {reason}\n")
    assert clone.state() == before


def test_the_version_of_this_checkout_can_be_released_from() -> None:
    """The two files have the form that a release looks for."""
    assert re.search(r'(?m)^VERSION = "0\.\d+\.\d+"$', (CHECKOUT / "core/version.py").read_text())
    assert (CHECKOUT / "CHANGELOG.md").read_text().count("\n## Unreleased\n") == 1


def test_without_a_version_make_says_how(clone: Clone) -> None:
    refused = subprocess.run(["make", "release"], cwd=clone.root, check=False, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "make release VERSION=0.2.0" in refused.stderr
