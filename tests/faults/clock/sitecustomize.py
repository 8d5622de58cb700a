"""Loaded by each Python that runs with libfaketime: that lets `time.sleep` fail when only the time of day is false."""

import select
import time
from typing import SupportsIndex


def sleep(seconds: float | SupportsIndex, /) -> None:
    select.select([], [], [], float(seconds))


time.sleep = sleep
