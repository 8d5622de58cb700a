"""Memory that was needed once goes back to the system."""

import ctypes

# The names and numbers of mallopt(3) of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# Its value before it adapts. The event loop reads up to 256 KiB at once, and bodies and answers come in such pieces.
_MMAP_FROM = 128 * 1024
_KEPT_FREE = 1024 * 1024
_ARENAS = 2


def give_memory_back() -> None:
    """Keep glibc from holding on to what large bodies and answers needed, for the rest of this process's life.

    By itself it raises its thresholds to the largest block that was ever freed, up to 32 MiB, below which nothing goes
    back; and each thread gets an arena of its own, with leftovers of its own. Other C libraries have no such habits.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_FROM)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_FREE)
        mallopt(_M_ARENA_MAX, _ARENAS)
