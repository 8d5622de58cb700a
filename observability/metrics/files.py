"""Files of numbers that cannot kill their process.

prometheus_client maps a sparse file into memory. Where the file system is full, the first write into such a map ends
the process by SIGBUS. So here each file has its space before it is mapped. A process that gets none keeps its numbers
to itself, says so, and shares them as soon as there is space.
"""

import errno
import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

logger = logging.getLogger(__name__)
_BYTES = 1 << 16
# How often a process asks for space that it did not get.
PAUSE_SECONDS = 10.0
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


class AllocatedFile(MmapedDict):
    """Numbers by key in a file that has space on the disk. Raises OSError when there is none."""

    def __init__(self, filename: str) -> None:
        allocate(Path(filename), _BYTES)
        super().__init__(filename)

    def reserve(self, size: int) -> None:
        """Make sure that entries of so many bytes more can be written."""
        before = self._capacity
        capacity = before
        while self._used + size > capacity:
            capacity *= 2
        if capacity > before:
            allocate(Path(self._fname), capacity)

    def _init_value(self, key: str) -> None:
        length = len(key.encode())
        self.reserve(4 + length + (8 - (length + 4) % 8) + 16)
        capacity = self._capacity
        try:
            super()._init_value(key)
        except OSError:  # it cannot be mapped
            self._capacity = capacity
            raise


class NumbersFile:
    """As AllocatedFile, but what has no place there is kept in memory, and moves in later."""

    def __init__(self, filename: str) -> None:
        self._filename = filename
        self._file: AllocatedFile | None = None
        self._beside: dict[str, tuple[float, float]] = {}
        try:
            self._file = AllocatedFile(filename)
        except OSError as error:
            _outside.add(self, error)

    def read_value(self, key: str) -> tuple[float, float]:
        if key not in self._beside and self._file:
            try:
                value: tuple[float, float] = self._file.read_value(key)
            except OSError as error:
                _outside.add(self, error)
            else:
                return value
        return self._beside.setdefault(key, (0.0, 0.0))

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        _outside.move_in_if_due()
        if key in self._beside or not self._file:
            self._beside[key] = (value, timestamp)
            return
        try:
            self._file.write_value(key, value, timestamp)
        except OSError as error:
            self._beside[key] = (value, timestamp)
            _outside.add(self, error)

    def move_in(self) -> None:
        """Raises OSError when there is still no space for all of it."""
        if not self._file:
            self._file = AllocatedFile(self._filename)
        while self._beside:
            key, numbers = next(iter(self._beside.items()))
            self._file.write_value(key, *numbers)
            del self._beside[key]

    def close(self) -> None:
        _outside.remove(self)
        if self._file:
            # A process that was forked may have closed what it does not know.
            with suppress(OSError):
                self._file.close()
            self._file = None


class _Outside:
    """The files of this process that lack space; said once, and once more when all of them have it.

    Any write tries again for all: what is written once, at the start, would stay outside for good.
    """

    def __init__(self) -> None:
        self._files: list[NumbersFile] = []
        self._again_at = 0.0
        self._is_said = False

    def add(self, file: NumbersFile, error: OSError) -> None:
        if file not in self._files:
            self._files.append(file)
        self._again_at = time.monotonic() + PAUSE_SECONDS
        self.say(error)

    def remove(self, file: NumbersFile) -> None:
        if file in self._files:
            self._files.remove(file)

    def move_in_if_due(self) -> None:
        if not self._files or time.monotonic() < self._again_at:
            return
        try:
            while self._files:
                self._files[0].move_in()
                del self._files[0]
        except OSError:
            self._again_at = time.monotonic() + PAUSE_SECONDS
        else:
            self._is_said = False
            logger.warning("There is space for metrics again: this process shares its numbers again.")

    def say(self, error: OSError) -> None:
        if not self._is_said:
            self._is_said = True
            logger.warning(
                "No space for metrics in %s: %s. This process works on and counts for itself alone; /metrics shows its"
                " numbers again once there is space.",
                os.environ.get("PROMETHEUS_MULTIPROC_DIR"),
                error.strerror or error,
            )


_outside = _Outside()


def use_allocated_files() -> None:
    """For all metrics that this process and those forked from it make from now on."""
    values.MmapedDict = NumbersFile  # type: ignore[attr-defined,assignment]


def say_trouble(error: OSError) -> None:
    """Of the folder itself."""
    _outside.say(error)


def allocate(path: Path, size: int) -> None:
    """Make the file at least so large, with space for each byte. Raises OSError, and leaves it as it was."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        before = os.fstat(file).st_size
        try:
            _allocate(file, before, max(size, before))
        except OSError:
            with suppress(OSError):
                os.ftruncate(file, before)
            raise
    finally:
        os.close(file)


def _allocate(file: int, before: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):  # macOS has none
        try:
            os.posix_fallocate(file, 0, size)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        else:
            return
    # What is there too, as it may have holes.
    content = os.pread(file, before, 0).ljust(size, b"\0")
    if os.pwrite(file, content, 0) < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
