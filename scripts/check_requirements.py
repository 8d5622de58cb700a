"""`check_requirements.py licences|vulnerabilities`: what the pinned packages are allowed, and known, to be.

What is allowed is in requirements.toml beside this file. Exit status 1: something must be done; each line says what.
"""

import json
import re
import subprocess
import sys
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
RUN_TIME, DEVELOPMENT = "requirements.txt", "requirements-dev.txt"
# For all packages together; whoever is behind a slow network gets a line instead of a wait.
AUDIT_SECONDS = 30
_PINNED = re.compile(r"^[A-Za-z0-9][^\\\n]*==[^\\\n]*", re.MULTILINE)


def main(arguments: list[str]) -> int:
    allowed = tomllib.loads((ROOT / "scripts/requirements.toml").read_text())
    if arguments == ["licences"]:
        wrong = wrong_licences(installed_licences(), allowed["licences"], run_time=pinned(RUN_TIME))
        return _tell(wrong, "Every licence is an allowed one.")
    if arguments == ["vulnerabilities"]:
        return _audit(allowed.get("ignored", []))
    sys.stderr.write(__doc__ or "")
    return 2


def _tell(wrong: list[str], well: str) -> int:
    sys.stdout.write(("\n".join(wrong) or well) + "\n")
    return 1 if wrong else 0


def pinned(name: str) -> set[str]:
    """The packages of a requirements file that this Python and platform get, by their normal names."""
    return packages_of((ROOT / name).read_text())


def packages_of(requirements: str) -> set[str]:
    """Likewise. pip-audit skips what has a marker for others, so nothing can be expected of it about those."""
    found = [Requirement(line) for line in _PINNED.findall(requirements)]
    return {_normal(each.name) for each in found if each.marker is None or each.marker.evaluate()}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# --- Licences ------------------------------------------------------------------------------------------------


def installed_licences() -> dict[str, str]:
    """Of what is installed and pinned: normal name → licence as its metadata say it."""
    command = [sys.executable, "-m", "piplicenses", "--format=json", "--from=mixed", "--with-system"]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    ours = pinned(RUN_TIME) | pinned(DEVELOPMENT)
    return {_normal(row["Name"]): row["License"] for row in rows if _normal(row["Name"]) in ours}


def wrong_licences(licences: dict[str, str], allowed: dict[str, Any], *, run_time: set[str]) -> list[str]:
    """A line for each package whose licence is not allowed where it is used."""
    anywhere = set(allowed["run_time"])
    wrong = []
    for name, told in sorted(licences.items()):
        licence = allowed["read"].get(name, told)
        good = anywhere if name in run_time else anywhere | set(allowed["development"])
        if not _is_allowed(licence, good):
            wrong.append(f"{name}: the licence {licence!r} is not allowed, see scripts/requirements.toml")
    return wrong


def _is_allowed(licence: str, good: set[str]) -> bool:
    """`A OR B` needs one of them; `A AND B` and `A; B` (which may mean either) need all."""
    together = re.split(r" AND |; ?", licence)
    return all(any(one.strip("() ") in good or one.strip() in good for one in part.split(" OR ")) for part in together)


# --- Vulnerabilities -----------------------------------------------------------------------------------------


def _audit(ignored: list[dict[str, Any]]) -> int:
    command = [sys.executable, "-m", "pip_audit", "-r", RUN_TIME, "--disable-pip", "--require-hashes", "-f", "json",
               "--progress-spinner", "off", "--timeout", "5"]  # fmt: skip
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=AUDIT_SECONDS, check=False)
        report = json.loads(run.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        report = {"dependencies": []}
    wrong, unknown = judge(report, ignored, packages=pinned(RUN_TIME), today=datetime.now(UTC).date())
    if unknown:
        return _tell(wrong, f"No advisories could be read for {unknown} packages: they were NOT audited.")
    return _tell(wrong, "No known vulnerability.")


def judge(
    report: dict[str, Any], ignored: list[dict[str, Any]], *, packages: set[str], today: date
) -> tuple[list[str], int]:
    """A line for each vulnerability that counts, and of how many packages nothing is known."""
    excused = {each["id"] for each in ignored if each["reason"].strip() and each["until"] >= today}
    wrong = [
        f"ignored {each['id']}: its day {each['until']} is over, or it has no reason"
        for each in ignored
        if each["id"] not in excused
    ]
    audited = [each for each in report["dependencies"] if "vulns" in each]
    for each in audited:
        for found in each["vulns"]:
            if not excused & {found["id"], *found.get("aliases", [])}:
                fixed = ", ".join(found.get("fix_versions", [])) or "none yet"
                wrong.append(f"{each['name']} {each['version']}: {found['id']}, fixed in: {fixed}")
    return wrong, len(packages - {_normal(each["name"]) for each in audited})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
