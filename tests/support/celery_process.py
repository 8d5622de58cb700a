"""A process of Celery whose output a test reads, and of which nothing is left when the test has ended."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from installation.local.data_dir import CHECKOUT


@contextmanager
def celery_process(command: Sequence[str], **environ: str) -> Iterator["subprocess.Popen[str]"]:
    """`environ` is added to its environment."""
    process = subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
