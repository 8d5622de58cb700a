"""The data folder: what lies where, who may read it, and the lock that lets one `up` use it at a time."""

import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from installation.local.errors import UpError

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class DataDir:
    """Paths below `EVENTS_DATA_DIR`; `root` is absolute and free of symbolic links."""

    root: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "DataDir":
        """`EVENTS_DATA_DIR`, by default `.data` in the checkout."""
        configured = Path(environ.get("EVENTS_DATA_DIR") or CHECKOUT / ".data")
        return cls(configured.expanduser().resolve())

    @property
    def lock(self) -> Path:
        return self.root / "up.lock"

    @property
    def record(self) -> Path:
        return self.root / "up.json"

    @property
    def environment(self) -> Path:
        return self.root / "environment.json"

    @property
    def demo(self) -> Path:
        return self.root / "demo.json"

    @property
    def admin(self) -> Path:
        """How the first administrator signs in; made instead of `demo` when no demo is wanted."""
        return self.root / "admin.json"

    @property
    def secret_key(self) -> Path:
        return self.root / "secret_key"

    @property
    def metrics(self) -> Path:
        """Where the processes share their numbers; emptied at each start."""
        return self.root / "metrics"

    def make(self) -> None:
        """Create the folder, readable by its owner alone; an existing one keeps its mode."""
        try:
            self.root.parent.mkdir(parents=True, exist_ok=True)
            self.root.mkdir(mode=0o700)
        except FileExistsError:
            if not self.root.is_dir():
                raise UpError(f"EVENTS_DATA_DIR is {self.root}, which is not a folder.") from None
        except OSError as error:
            raise UpError(f"Cannot create {self.root} ({error.strerror}); set EVENTS_DATA_DIR.") from error
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise UpError(f"Cannot write to {self.root}; set EVENTS_DATA_DIR to a folder of your own.")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; an `UpError` when another process holds it."""
        with self.lock.open("a") as file:
            if not _try_lock(file.fileno()):
                raise UpError(f"The platform is already running on {self.root}; set EVENTS_DATA_DIR for another.")
            yield

    def in_use(self) -> bool:
        """Is there a running process that holds the lock?"""
        try:
            with self.lock.open("r+") as file:
                return not _try_lock(file.fileno())
        except OSError:
            return False


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_private(path: Path, text: str) -> None:
    """Replace `path` by a file with `text` and mode 0600; a reader sees the old or the new one, never half."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
