"""Loaded by each Python that runs with libfaketime: that lets `time.sleep` fail when only the time of day is false."""

import select
import time


def sleep(seconds: float, /) -> None:
    select.select([], [], [], seconds)


time.sleep = sleep
