"""Payloads for demo traffic: real GitHub webhooks when npm can fetch them, a few of our own otherwise."""

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Real payloads, collected by GitHub's own client library; 400 KB, fetched once and kept.
_PACKAGE = "@octokit/webhooks-examples@7.6.1"
_ARCHIVE = "octokit-webhooks-examples-7.6.1.tgz"
_INDEX = "package/api.github.com/index.json"
_NPM_SECONDS = 60

_COMMON = {
    "repository": {"id": 1, "full_name": "example/shop", "private": False},
    "sender": {"id": 7, "login": "ada"},
}
_OWN_EXAMPLES: dict[str, dict[str, Any]] = {
    "push": {"ref": "refs/heads/main", "commits": [{"message": "Round amounts to cents"}]},
    "issues": {"action": "opened", "issue": {"number": 12, "title": "Totals are off by one cent"}},
    "issue_comment": {"action": "created", "comment": {"body": "Seen with three items as well."}},
    "pull_request": {"action": "closed", "pull_request": {"number": 13, "merged": True}},
    "release": {"action": "published", "release": {"tag_name": "v1.4.0", "prerelease": False}},
    "star": {"action": "created", "starred_at": "2026-01-05T09:30:00Z"},
}


@dataclass(frozen=True, kw_only=True)
class Payload:
    """One event to send: its type, and its data as a JSON object."""

    type: str
    data: dict[str, Any]


def github_payloads(cache: Path) -> tuple[list[Payload], str]:
    """Payloads, at least one, and where they come from; the archive is kept in the folder `cache`."""
    try:
        index = _read_index(_archive(cache))
    except (OSError, subprocess.SubprocessError, tarfile.TarError, KeyError, ValueError) as error:
        examples = [_payload(name, {**body, **_COMMON}) for name, body in _OWN_EXAMPLES.items()]
        return examples, f"six built-in examples, because npm did not provide {_PACKAGE} ({type(error).__name__})"
    return index, _PACKAGE


def _read_index(archive: Path) -> list[Payload]:
    """The index is a list of `{"name": "issues", "examples": [payload, …], …}`."""
    with tarfile.open(archive) as files:
        member = files.extractfile(_INDEX)
        if member is None:
            raise KeyError(_INDEX)
        webhooks = json.load(member)
    payloads = [_payload(webhook["name"], example) for webhook in webhooks for example in webhook["examples"]]
    if not payloads:
        raise ValueError(f"{_INDEX} is empty")
    return payloads


def _archive(cache: Path) -> Path:
    """Path of the archive, fetched with npm unless an earlier call did."""
    archive = cache / _ARCHIVE
    if archive.exists():
        return archive
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm")
    cache.mkdir(parents=True, exist_ok=True)
    # In a folder of its own first: a fetch that is cut off must not leave half an archive in the cache.
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        subprocess.run(
            [npm, "pack", _PACKAGE, "--silent", "--pack-destination", folder],
            cwd=folder,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_NPM_SECONDS,
        )
        os.replace(Path(folder, _ARCHIVE), archive)
    return archive


def _payload(name: str, data: dict[str, Any]) -> Payload:
    action = data.get("action")
    return Payload(type=f"github.{name}.{action}" if isinstance(action, str) else f"github.{name}", data=data)
