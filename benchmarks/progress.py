"""What the benchmarks say on standard error while they run."""

import sys
import time


class Progress:
    """One line for each measurement, with an estimate of the time left."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._done = 0.0
        self._total = 0.0

    def expect(self, seconds: float) -> None:
        """Announce the measurements to come, by the seconds of load in them."""
        self._started = time.monotonic()
        self._done, self._total = 0.0, seconds

    def measured(self, text: str, *, seconds: float) -> None:
        """Say `text` after a measurement with `seconds` of load."""
        self._done += seconds
        elapsed = time.monotonic() - self._started
        left = elapsed / self._done * (self._total - self._done) if self._done else 0.0
        self.say(f"{text}  [{_clock(left)} left]")

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    return f"{max(0, round(seconds)) // 60}:{max(0, round(seconds)) % 60:02d}"
