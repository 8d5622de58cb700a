"""Names that change with the content, found while the platform runs: nothing has to be collected before its start.

Django's own way copies the files of all packages with their hashes in the names: 33 MB with what is compressed, and 5 s
of CPU at each installation. The server of one version would know no name of another.
"""

import gzip
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import StaticFilesStorage
from django.core.exceptions import SuspiciousFileOperation

# What pages name. Pictures of stylesheets and the maps of scripts are named by them, and keep their names.
_HASHED_SUFFIXES = (".css", ".js", ".svg")
_WITH_HASH = re.compile(r"(?P<stem>.+)\.(?P<digest>[0-9a-f]{12})(?P<suffix>\.[a-z]+)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class HashedFile:
    """A file as it was when it was first asked for: a new version that is put over it has another name."""

    hashed_name: str
    compressed: bytes


def name_without_hash(name: str) -> str | None:
    """`console.js` for `console.0123456789ab.js`; None for a name without a hash."""
    found = _WITH_HASH.fullmatch(name)
    return found["stem"] + found["suffix"] if found else None


class HashedStaticFilesStorage(StaticFilesStorage):
    """What `{% static %}` asks. Holds each file that was asked for, compressed: some 2 MB when it was all of them."""

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[str, HashedFile] = {}

    def url(self, name: str | None) -> str:
        file = self.file(name or "")
        return super().url(file.hashed_name if file else name)

    def file(self, name: str) -> HashedFile | None:
        """The file of this name (without a hash); None when there is none, or none that gets a hash."""
        if (known := self._files.get(name)) is not None:
            return known
        path = _find(name)
        if path is None:
            return None
        file = _read(name, path)
        # A developer changes files while the server runs.
        if not settings.DEBUG:
            self._files[name] = file
        return file


def _find(name: str) -> str | None:
    if not name.endswith(_HASHED_SUFFIXES):
        return None
    try:
        path = finders.find(name)
    except SuspiciousFileOperation:  # it leads out of the folder
        return None
    return path if isinstance(path, str) and Path(path).is_file() else None


def _read(name: str, path: str) -> HashedFile:
    content = Path(path).read_bytes()
    stem, _, suffix = name.rpartition(".")
    return HashedFile(
        hashed_name=f"{stem}.{sha256(content).hexdigest()[:12]}.{suffix}",
        compressed=gzip.compress(content, mtime=0),
    )
