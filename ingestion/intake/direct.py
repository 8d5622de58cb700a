"""The intake within a thread of its own: without waiting, and without sharing commits."""

from collections.abc import Sequence

from core.ports import SyncDatabase, SyncRedis
from ingestion.intake.pipeline import Ports, Store
from ingestion.intake.storing import Incoming, WriteOutcome, store
from ingestion.schemas.checking import schema_checks
from ingestion.wakeup import wake_processing


def direct_ports(store_events: Store) -> Ports:
    """What `core.ports.run_now` can run the stages with."""
    return Ports(
        database=SyncDatabase(),
        redis=SyncRedis(),
        check=schema_checks.check_directly,
        breathe=_go_on,
        store=store_events,
    )


async def store_directly(events: Sequence[Incoming]) -> list[WriteOutcome]:
    """Commit them, and have them processed."""
    outcomes = await store(SyncDatabase(), events)
    wake_processing()
    return outcomes


async def _go_on() -> None:
    """Within a thread of its own, nobody waits."""
