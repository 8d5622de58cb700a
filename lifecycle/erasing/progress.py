"""For commands: stay with an erasure until it is over."""

import sys
import time
from collections.abc import Callable

from lifecycle.erasing.running import run_erasures
from lifecycle.models import Erasure

SLICE_SECONDS = 1.0


def work_until_over(erasure: Erasure, *, pause: Callable[[float], None] = time.sleep) -> Erasure:
    """Work on it, or watch the worker that does; returns it as it is at the end. Ctrl-C leaves it to the worker."""
    while erasure.is_running:
        if not run_erasures(seconds=SLICE_SECONDS):
            pause(SLICE_SECONDS)
        erasure.refresh_from_db()
        if sys.stderr.isatty():
            counts = ", ".join(f"{what} {count}" for what, count in erasure.removed.items())
            sys.stderr.write(f"\r\033[KErased: {counts or '–'}; looked at {erasure.looked_at} events")
            sys.stderr.flush()
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    return erasure
