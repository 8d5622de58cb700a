"""Which version runs: the release by its number, and the commit that it was made from."""

import re
import subprocess
from functools import cache
from pathlib import Path

from django.http import HttpRequest

# `make release` writes it, nobody else.
VERSION = "0.2.0"

UNKNOWN = "unknown"
_CHECKOUT = Path(__file__).resolve().parent.parent
_GIT_SECONDS = 2
_REVISION = re.compile(r"[0-9A-Za-z._+-]{1,64}")


def parsed(version: str) -> tuple[int, ...]:
    """`0.2.0` → (0, 2, 0), so that versions can be compared."""
    return tuple(int(part) for part in version.split("."))


def oldest_beside(version: str) -> str:
    """The oldest version whose code runs on the schema of this one: the MINOR before it, or the MAJOR before it."""
    major, minor, _ = parsed(version)
    return f"{major}.{minor - 1}.0" if minor else f"{max(major - 1, 0)}.0.0"


@cache
def revision() -> str:
    """What the file REVISION says, which an installation has; else the commit of the checkout; else `unknown`."""
    return find_revision(_CHECKOUT)


def find_revision(checkout: Path) -> str:
    for said in (_of_file(checkout / "REVISION"), _of_git(checkout)):
        if _REVISION.fullmatch(said):
            return said
    return UNKNOWN


def _of_file(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""


def _of_git(checkout: Path) -> str:
    # Without this question git would look in the folders above, which may be somebody else's repository.
    if not (checkout / ".git").exists():
        return ""
    command = ["git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return run.stdout.strip()


def in_templates(request: HttpRequest) -> dict[str, str]:
    """Context processor: what `templates/_version.html` shows."""
    return {"platform_version": VERSION, "platform_revision": revision()}
