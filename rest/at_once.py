"""How much of one thing goes on at once in this process: who comes when it is full is told so, and waits nowhere."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class TooManyAtOnceError(Exception):
    """`is_ours`: the platform is busy with others (503); otherwise it is the visitor's own share (429)."""

    def __init__(self, *, is_ours: bool) -> None:
        self.is_ours = is_ours
        super().__init__("too much of this goes on at once")


class AtOnce:
    """Counts by key; what nobody holds takes no memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()

    @contextmanager
    def hold(self, key: str, *, most: int, is_ours: bool = False) -> Iterator[None]:
        """Raises TooManyAtOnceError when `most` are held already."""
        with self._lock:
            if self._held[key] >= most:
                raise TooManyAtOnceError(is_ours=is_ours)
            self._held[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[key] -= 1
                if not self._held[key]:
                    del self._held[key]


# Of this process.
at_once = AtOnce()
