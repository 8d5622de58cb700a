"""`release.py X.Y.Z`: close the changelog's "Unreleased", set the version, commit, and tag. `make release` calls it.

It pushes nothing. Exit status 1: nothing was changed, and the line says why.
"""

import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

BRANCH = "main"
CHANGELOG, VERSION_FILE = "CHANGELOG.md", "core/version.py"
# 1.0 is a promise of its own: raise this on purpose.
_NUMBER = re.compile(r"0\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_ASSIGNMENT = re.compile(r'^VERSION = "([^"]+)"$', re.MULTILINE)
_UNRELEASED = re.compile(r"^## Unreleased\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


class RefusedError(Exception):
    """The message is for the person who releases."""


def main(arguments: list[str], *, root: Path) -> int:
    if len(arguments) != 1:
        sys.stderr.write("Name the version: make release VERSION=0.2.0\n")
        return 2
    try:
        release(arguments[0], root=root, today=datetime.now(UTC).date())
    except RefusedError as refused:
        sys.stderr.write(f"Not released: {refused}\n")
        return 1
    sys.stdout.write(f"Released {arguments[0]} here. To publish it: git push origin {BRANCH} v{arguments[0]}\n")
    return 0


def release(version: str, *, root: Path, today: date) -> None:
    """Commit and tag `version` in the checkout at `root`, or raise RefusedError and leave it as it is."""
    changelog, code = root / CHANGELOG, root / VERSION_FILE
    _check_version(version, current=_current(code.read_text()))
    _check_checkout(root, tag=f"v{version}")
    notes = _notes(changelog.read_text())
    changelog.write_text(_closed(changelog.read_text(), version=version, today=today))
    code.write_text(_ASSIGNMENT.sub(f'VERSION = "{version}"', code.read_text()))
    try:
        _git(root, "commit", "--quiet", "--message", f"Release {version}", "--", CHANGELOG, VERSION_FILE)
    except RefusedError:  # by a hook
        _git(root, "checkout", "--quiet", "HEAD", "--", CHANGELOG, VERSION_FILE)
        raise
    # Verbatim, as git would take the headings of the notes for comments.
    _git(root, "tag", "--annotate", "--cleanup=verbatim", "--message", f"{version}\n\n{notes}\n", f"v{version}")


def _current(code: str) -> str:
    found = _ASSIGNMENT.search(code)
    if found is None:
        raise RefusedError(f'{VERSION_FILE} has no line `VERSION = "…"`.')
    return found[1]


def _check_version(version: str, *, current: str) -> None:
    if not _NUMBER.fullmatch(version):
        raise RefusedError(f"{version!r} is not of the form 0.MINOR.PATCH, such as 0.2.0.")
    if _as_numbers(version) <= _as_numbers(current):
        raise RefusedError(f"{version} is not newer than {current}, which {VERSION_FILE} has.")


def _as_numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _check_checkout(root: Path, *, tag: str) -> None:
    branch = _git(root, "branch", "--show-current")
    if branch != BRANCH:
        raise RefusedError(f"releases are made on {BRANCH}; this is {branch or 'no branch'}.")
    if changed := _git(root, "status", "--porcelain"):
        raise RefusedError(f"there are changes that are not committed:\n{changed}")
    if _git(root, "tag", "--list", tag):
        raise RefusedError(f"the tag {tag} exists.")


def _notes(changelog: str) -> str:
    found = _UNRELEASED.search(changelog)
    if found is None or not found[1].strip():
        raise RefusedError(f'"Unreleased" in {CHANGELOG} is empty: write what operators and tenants will notice.')
    return found[1].strip()


def _closed(changelog: str, *, version: str, today: date) -> str:
    return changelog.replace("## Unreleased\n", f"## Unreleased\n\n## {version} – {today.isoformat()}\n", 1)


def _git(root: Path, *arguments: str) -> str:
    run = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)  # noqa: S607
    if run.returncode != 0:
        raise RefusedError(f"git {arguments[0]} failed: {run.stderr.strip() or run.stdout.strip()}")
    return run.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], root=Path(__file__).resolve().parent.parent))
