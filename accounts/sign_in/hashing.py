"""Hashing passwords takes a third of a second of CPU, on purpose: it must be nobody else's.

One thread of each process does it, with less of a claim on the CPU than those that answer requests. Whoever waits for
it holds no connection of the pool, and no place that somebody else's page may need. More than a few who wait are told
to come again.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from core import bounds
from core.turns import turns
from rest.doors.shares import Budget
from rest.doors.threads import without_place

# Running and waiting.
hashed = Budget(total=bounds.MAX_HASHES, share=bounds.MAX_HASHES)
# Of 40: such a thread gets a tenth of what another one gets while both want the CPU.
_STEPS_BACK = 10


def _step_back() -> None:
    # Only Linux has priorities of threads.
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + _STEPS_BACK))


_hashing = ThreadPoolExecutor(1, thread_name_prefix="hashing", initializer=_step_back)


class BoundedPasswordHasher(PBKDF2PasswordHasher):
    """Django's, under its name: hashes that are stored stay good. Raises TooMuchError.

    Everything that makes or compares a hash comes through here, whatever page it is on.
    """

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        with without_place(hashed, keeps_share=True):
            encoded, seconds = _hashing.submit(_timed, partial(super().encode, password, salt, iterations)).result()
        turns.charge(seconds)
        return encoded


def _timed(encode: Callable[[], str]) -> tuple[str, float]:
    """What it makes, and the seconds that it computes: the request's that waits for it."""
    began = time.thread_time()
    return encode(), time.thread_time() - began
