"""Durations in steps of a quarter of an octave: a median that is read from them is off by at most a tenth. Pure."""

import math
from collections.abc import Mapping

_STEPS = 4


def bucket_of(milliseconds: int) -> int:
    return round(_STEPS * math.log2(max(milliseconds, 0) + 1))


def milliseconds_of(bucket: int) -> int:
    """About so long."""
    return round(2 ** (bucket / _STEPS)) - 1


def quantile(counts: Mapping[int, int], share: float) -> int | None:
    """The milliseconds that `share` of them took at most, by `{bucket: count}`; None without any."""
    total = sum(counts.values())
    passed = 0
    for bucket in sorted(counts):
        passed += counts[bucket]
        if passed >= share * total and passed:
            return milliseconds_of(bucket)
    return None
