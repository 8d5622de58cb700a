"""Ending what a killed `up` left behind, and nothing else.

A pid alone may have been given to a stranger since: a process is ours when its start matches the record, or when
it belongs to a recorded group and carries our data folder in its environment.
"""

import json
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict

import psutil

from events_platform.up.child import Identity
from events_platform.up.processes import group_members, signal_group, started_at, wait_until
from installation.local.data_dir import DataDir, write_private

_GRACE_SECONDS = 5.0


def record_children(data: DataDir, children: Iterable[Identity]) -> None:
    """Write who runs, so that the next `up` can tell them from strangers."""
    write_private(data.record, json.dumps({"pid": os.getpid(), "children": [asdict(child) for child in children]}))


def end_leftovers(data: DataDir) -> list[str]:
    """End the recorded processes that still live; returns their names. Call it holding the lock.

    PostgreSQL and Valkey are found by their own files instead (see `postgres` and `valkey`).
    """
    try:
        recorded = [Identity(**child) for child in json.loads(data.record.read_text())["children"]]
    except (OSError, ValueError, KeyError, TypeError):
        recorded = []
    ended = [identity.name for identity in recorded if _end(data, identity)]
    data.record.unlink(missing_ok=True)
    return ended


def _end(data: DataDir, identity: Identity) -> bool:
    leader_lives = bool(identity.started) and started_at(identity.pid) == identity.started
    if not leader_lives and not any(_is_ours(data, member) for member in group_members(identity.pid)):
        return False
    if leader_lives:
        with suppress(ProcessLookupError):
            os.kill(identity.pid, signal.SIGTERM)
        wait_until(lambda: started_at(identity.pid) != identity.started, seconds=_GRACE_SECONDS)
    signal_group(identity.pid, signal.SIGKILL)
    wait_until(lambda: not any(group_members(identity.pid)), seconds=_GRACE_SECONDS)
    return True


def _is_ours(data: DataDir, process: psutil.Process) -> bool:
    try:
        return process.environ().get("EVENTS_DATA_DIR") == str(data.root)
    except psutil.Error:
        return False
