"""Whether this process can take an event now, asked of the very way that events take: its writer, its look-up of keys.

What events have just proved is not asked again. What is asked here may wait for as long as PostgreSQL makes it wait:
whoever asks does so in a thread that it need not wait for.
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, NamedTuple

from core.ports import KeyedDatabase, SyncDatabase, run_now
from core.postgresql.descriptions import describe_fault
from core.problems import Problem
from ingestion.intake.probe import probe_statement
from ingestion.intake.writer import GroupCommitWriter
from organizations.keys.authentication import look_up_nobody

# A commit proves for so long that the next one will work.
PROVED_SECONDS = 2.0
# A loop that does not answer for so long has other troubles; the thread that asks is given back.
_LOOP_SECONDS = 30.0


class _Door(NamedTuple):
    """The way of the ASGI door: it lives in its event loop."""

    loop: asyncio.AbstractEventLoop
    writer: GroupCommitWriter
    database: KeyedDatabase

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(_LOOP_SECONDS)


_door: _Door | None = None


def use_door(writer: GroupCommitWriter, database: KeyedDatabase) -> None:
    """Events of this process come through this writer; in its event loop."""
    global _door  # noqa: PLW0603 - the process has one
    _door = _Door(asyncio.get_running_loop(), writer, database)


def has_just_committed() -> bool:
    door = _living_door()
    return door is not None and time.monotonic() - door.writer.committed_at < PROVED_SECONDS


def find_commit_fault() -> str:
    """Why no event can be committed, empty when one can. Waits as long as PostgreSQL makes it."""
    door = _living_door()
    try:
        if door is not None:
            door.run(door.writer.prove())
        else:
            run_now(_commit_directly())
    except TimeoutError:
        return "the web server's event loop stands still"
    except Problem:
        return describe_fault(door.writer.fault if door is not None else None)
    except Exception as error:  # noqa: BLE001 - whatever it is, an event would meet it too
        return describe_fault(error)
    return ""


def find_look_up_fault() -> str:
    """Why no key can be looked up, empty when one can. Likewise."""
    door = _living_door()
    try:
        if door is not None:
            door.run(look_up_nobody(door.database))
        else:
            run_now(look_up_nobody(SyncDatabase()))
    except TimeoutError:
        return "the web server's event loop stands still"
    except Exception as error:  # noqa: BLE001 - likewise
        return describe_fault(error)
    return ""


async def _commit_directly() -> None:
    await SyncDatabase().fetch(probe_statement(), ())


def _living_door() -> _Door | None:
    return _door if _door is not None and _door.loop.is_running() else None
