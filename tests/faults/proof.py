"""What must hold after a fault: acknowledged = stored = counted = delivered, by itself and in time."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import psycopg

from installation.local.data_dir import CHECKOUT
from tests.faults.health import NEWEST, READY, STATUS, Watch
from tests.faults.load import Load
from tests.faults.parts.postgresql import PostgreSQL

_STORED = "SELECT subject::int, id::text FROM ingestion_event WHERE type = %s"
_COUNTED = "SELECT coalesce(sum(count), 0)::int FROM ingestion_hourlystat WHERE type = %s"
_CATALOGUED = "SELECT coalesce(sum(count), 0)::int FROM ingestion_eventtype WHERE name = %s"
_DELIVERIES = """
SELECT count(*)::int, count(DISTINCT delivery.event_id)::int, count(*) FILTER (WHERE delivery.status = 'delivered')::int
FROM delivery_delivery AS delivery
JOIN delivery_subscription AS subscription ON subscription.id = delivery.subscription_id
JOIN ingestion_event AS event ON event.id = delivery.event_id
WHERE event.type = %s AND subscription.kind = %s
"""
_OUTBOX = "SELECT count(*)::int FROM ingestion_outboxentry"
# Of more, the first ones say as much.
_SHOWN = 3
_LATE_SECONDS = 2.0
# Under load it gets something many times a second.
_PAUSE_SECONDS = 5.0


@dataclass
class Finding:
    """What a row came to, for the table; `problems` are in words, and a row holds when there are none."""

    acknowledged: int = 0
    stored: int = 0
    delivered: int = 0
    repeated: int = 0
    drained_after: float | None = None
    ready: str = ""
    problems: list[str] = field(default_factory=list)

    def expect(self, what: str, found: object, expected: object) -> None:
        if found != expected:
            self.problems.append(f"{what}: {found}, not {expected}")


def is_drained(postgres: PostgreSQL, load: Load) -> bool:
    """Everything that was sent is answered, processed, counted, and delivered to the webhook."""
    try:
        return _is_drained(postgres, load)
    except psycopg.Error:
        return False  # it does not let anybody in yet


def _is_drained(postgres: PostgreSQL, load: Load) -> bool:
    if not load.settled() or postgres.execute(_OUTBOX)[0][0]:
        return False
    stored = len(postgres.execute(_STORED, load.type))
    deliveries, _, delivered = postgres.execute(_DELIVERIES, load.type, "webhook")[0]
    counted = postgres.execute(_COUNTED, load.type)[0][0]
    return bool(stored >= len(load.acknowledged) and stored == deliveries == delivered == counted)


def what_is_left(postgres: PostgreSQL, load: Load) -> str:
    """What keeps a row from being drained."""
    outbox = postgres.execute(_OUTBOX)[0][0]
    stored = len(postgres.execute(_STORED, load.type))
    deliveries, _, delivered = postgres.execute(_DELIVERIES, load.type, "webhook")[0]
    counted = postgres.execute(_COUNTED, load.type)[0][0]
    return (
        f"{len(load.outstanding)} not acknowledged{'' if load.settled() else ' (the load still runs)'},"
        f" {outbox} outbox entries, {stored} stored, {counted} counted, {deliveries} to the webhook,"
        f" {delivered} of them delivered"
    )


def judge_data(finding: Finding, postgres: PostgreSQL, load: Load, received: Sequence[str]) -> None:
    """`received` are the ids that the webhook's receiver got, each as often as it came."""
    rows = postgres.execute(_STORED, load.type)
    stored = dict(rows)
    finding.acknowledged, finding.stored = len(load.acknowledged), len(rows)
    finding.expect("stored twice", len(rows) - len(stored), 0)
    lost = {number for number, event_id in load.acknowledged.items() if stored.get(number) != event_id}
    finding.expect("acknowledged and not stored", sorted(lost)[:_SHOWN], [])
    surplus = stored.keys() - load.acknowledged.keys() - load.unknown - load.outstanding
    finding.expect("stored and never acknowledged", sorted(surplus)[:_SHOWN], [])
    finding.expect("counted by the hour", postgres.execute(_COUNTED, load.type)[0][0], len(rows))
    finding.expect("counted by type", postgres.execute(_CATALOGUED, load.type)[0][0], len(rows))
    for kind in ("webhook", "inbox"):
        deliveries, events, _ = postgres.execute(_DELIVERIES, load.type, kind)[0]
        finding.expect(f"deliveries to the {kind}", (deliveries, events), (len(rows), len(rows)))
    ids = set(stored.values())
    arrived = Counter(one for one in received if one in ids)
    finding.delivered, finding.repeated = len(arrived), sum(arrived.values()) - len(arrived)
    finding.expect("received by the webhook", len(arrived), len(ids))


def judge_answers(
    finding: Finding, load: Load, watch: Watch, *, names: frozenset[str] = frozenset(), web_is_away: bool
) -> None:
    """No valid event is refused for good, and /health tells the truth in time.

    /health/status must have named one of `names`. `web_is_away`: it cannot answer.
    """
    finding.ready = watch.summary()
    finding.expect("answers that no valid event deserves", load.wrong[:_SHOWN], [])
    if web_is_away:
        return
    if late := watch.late(READY, STATUS):
        finding.problems.append(f"/health gave no answer in time, {len(late)} times")
    if names and not names & watch.named():
        finding.problems.append(f"/health/status named none of {', '.join(sorted(names))}")
    for word, times in Counter(watch.untrue(load.tries)).items():
        finding.problems.append(f"/health/ready said {word}, {times} times")


def judge_unnoticed(finding: Finding, load: Load, watch: Watch, received: Sequence[float]) -> None:
    """No request was refused, none came late, and webhooks went on; `received` are the moments when they came."""
    finding.expect("requests that were refused", sum(not one.taken for one in load.tries), 0)
    late = [one.ended - one.began for one in load.tries if one.ended - one.began > _LATE_SECONDS]
    finding.expect("answers later than 2 s, in seconds", [round(one, 1) for one in sorted(late)[-_SHOWN:]], [])
    finding.expect("lists that did not come in time", len(watch.late(NEWEST)), 0)
    pauses = [after - before for before, after in pairwise(received)]
    finding.expect("pauses of the webhook of over 5 s", [round(one) for one in pauses if one > _PAUSE_SECONDS], [])


def consume_inbox(url: str, key: str) -> list[str]:
    """Lease and acknowledge until the inbox is empty; the ids that were leased."""
    # Without rounds after which it hangs it goes on until the inbox is empty.
    job = {"base_url": url, "key": key, "lease_seconds": 60, "hang_after": None}
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.http.consuming"],
        cwd=CHECKOUT,
        input=json.dumps(job) + "\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [event_id for what, ids in lines if what == "leased" for event_id in ids]
