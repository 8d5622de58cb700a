"""Work that waits, of both builds: made, drained by one worker process, timed, and counted afterwards."""

import json
import time
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from benchmarks.comparing import drained
from benchmarks.lab import Lab
from benchmarks.receiver import Receiver
from benchmarks.samples import Sample
from benchmarks.servers import memory_watched, pid_of
from benchmarks.streams import TYPE
from benchmarks.targets import Target
from benchmarks.workers import (
    PROCESSING,
    SENDING,
    TEXTBOOK_DELIVERIES,
    TEXTBOOK_EVENTS,
    textbook_worker,
    wait_until,
    wake,
)
from events_platform.up.child import Child

_WARM_UP_EVENTS = 500
_OUTBOX_IS_EMPTY: LiteralString = "SELECT NOT EXISTS (SELECT FROM ingestion_outboxentry)"
# Events with exactly one delivery: to the webhook, as the inbox, which nobody reads, gets none.
_FANNED_OUT: LiteralString = """
SELECT count(*) FROM (
    SELECT FROM delivery_delivery GROUP BY event_id HAVING count(*) = 1
) AS event
"""
_RECORDED: LiteralString = """
SELECT count(*) FROM delivery_delivery AS delivery
WHERE subscription_id = %s AND status = 'delivered' AND attempts = 1
  AND (SELECT count(*) FROM delivery_attempt WHERE delivery_id = delivery.id AND error = '')
      + (first_attempt IS NOT NULL)::int = 1
"""
_ALL_RECORDED: LiteralString = """
SELECT NOT EXISTS (
    SELECT FROM delivery_delivery WHERE subscription_id = %s AND status IN ('pending', 'retrying')
)
"""
_SET_STATUS: LiteralString = "UPDATE delivery_subscription SET status = %s WHERE id = %s"
_TEXTBOOK_FANNED_OUT: LiteralString = """
SELECT count(*) FROM (SELECT FROM textbook_delivery GROUP BY event_id HAVING count(*) = 1) AS event
"""
_TEXTBOOK_RECORDED: LiteralString = """
SELECT count(*) FROM textbook_delivery AS delivery
WHERE status = 'delivered' AND attempts = 1
  AND (SELECT count(*) FROM textbook_attempt WHERE delivery_id = delivery.id) = 1
"""
_TEXTBOOK_DELIVERIES: LiteralString = "SELECT count(*) FROM textbook_delivery"
_TEXTBOOK_SENT: LiteralString = "SELECT count(*) FROM textbook_delivery WHERE status = 'delivered'"


def make_ordered_webhook(target: Target, *, organization: str, url: str) -> str:
    """The id of one that takes the events of a backlog in order by subject, and is paused."""
    wanted = {"organization": organization, "url": url, "paused": True, "event_types": [TYPE], "order_by": "subject"}
    ids: list[str] = json.loads(target.run("benchmarks.platform_webhooks", [wanted]))
    return ids[0]


def make_webhook(target: Target, *, organization: str, url: str, paused: bool = False, others: int = 0) -> str:
    """The id of a webhook of our organization that takes the events of a backlog, beside `others` that take none."""
    common = {"organization": organization, "url": url, "paused": paused}
    wanted = [{**common, "event_types": [f"other.type-{number}"]} for number in range(others)]
    ids: list[str] = json.loads(
        target.run("benchmarks.platform_webhooks", [*wanted, {**common, "event_types": [TYPE]}])
    )
    return ids[-1]


def make_webhooks(target: Target, *, organization: str, urls: list[str], paused: bool) -> list[str]:
    """The ids of webhooks of our organization that each take the events of a backlog."""
    common = {"organization": organization, "event_types": [TYPE], "paused": paused}
    ids: list[str] = json.loads(target.run("benchmarks.platform_webhooks", [{**common, "url": url} for url in urls]))
    return ids


def make_textbook_webhook(target: Target, *, organization: str, url: str) -> None:
    target.run(
        "benchmarks.textbook.backlog", {"organization": organization, "url": url, "events": 0, "deliveries": False}
    )


def make_backlog(target: Target, *, organization: str, events: int, process: bool, subjects: int = 1) -> None:
    """Events of ours that wait for processing or, once processed, deliveries that are due."""
    wanted = {"organization": organization, "events": events, "process": process, "subjects": subjects}
    target.run("benchmarks.platform_backlog", wanted)
    target.tidy()


@dataclass(frozen=True, kw_only=True)
class OurProcessing:
    """Drains the outbox with the worker `child`, which runs already."""

    target: Target
    child: Child

    def warm_up(self, organization: str) -> None:
        self.drain(organization, _WARM_UP_EVENTS)

    def drain(self, organization: str, events: int) -> Sample:
        """From the wake-up until the outbox is empty."""
        self.target.empty(keep_queues=True)
        make_backlog(self.target, organization=organization, events=events, process=False)
        with self.target.connected() as connection, memory_watched(pid_of(self.child)) as peak:
            begin = time.monotonic()
            wake(self.target, PROCESSING)
            wait_until(lambda: _one(connection, _OUTBOX_IS_EMPTY), what="the outbox was empty")
            seconds = time.monotonic() - begin
            found = _one(connection, _FANNED_OUT)
        return drained(events=events, found=found, seconds=seconds, peak_mebibytes=peak.mebibytes)


@dataclass(frozen=True, kw_only=True)
class OurSending:
    """Drains the due deliveries of one webhook with the sender `child`, which runs already."""

    target: Target
    child: Child
    receiver: Receiver
    organization: str
    webhook: str
    subjects: int = 1

    def warm_up(self) -> None:
        self.drain(_WARM_UP_EVENTS)

    def drain(self, deliveries: int) -> Sample:
        """From the wake-up until each delivery is recorded. The webhook is paused until all of them wait."""
        self.target.empty(keep_queues=True)
        self._set_status("paused")
        make_backlog(
            self.target, organization=self.organization, events=deliveries, process=True, subjects=self.subjects
        )
        self._set_status("active")
        received = _Received(self.receiver, deliveries)
        with self.target.connected() as connection:
            with memory_watched(pid_of(self.child)) as peak:
                begin = time.monotonic()
                wake(self.target, SENDING)
                self._wait_until_sent(deliveries)
                wait_until(lambda: _one(connection, _ALL_RECORDED, self.webhook), what="all deliveries were recorded")
                seconds = time.monotonic() - begin
            found = _one(connection, _RECORDED, self.webhook)
        return received.sample(found=found, seconds=seconds, peak_mebibytes=peak.mebibytes)

    def _wait_until_sent(self, deliveries: int) -> None:
        """The receiver is asked, which costs less than counting rows. Beat would wake the sender each second."""
        woken = time.monotonic()
        while self.receiver.counts().ids < deliveries:
            wait_until(
                lambda: self.receiver.counts().ids >= deliveries or time.monotonic() - woken > 1,  # noqa: B023
                what="the sender sent",
            )
            woken = time.monotonic()
            wake(self.target, SENDING)

    def _set_status(self, status: str) -> None:
        with self.target.connected() as connection:
            connection.execute(_SET_STATUS, [status, self.webhook])


@dataclass(frozen=True, kw_only=True)
class TextbookDrain:
    """Drains the textbook's tasks with one worker process, which starts when all of them wait.

    It is timed from its first finished task, so that its start does not count.
    """

    lab: Lab
    target: Target
    receiver: Receiver
    organization: str

    def process(self, events: int) -> Sample:
        self._prepare(events, deliveries=False)
        with self.target.connected() as connection:
            seconds, peak = self._timed(connection, TEXTBOOK_EVENTS, _TEXTBOOK_DELIVERIES, events)
            found = _one(connection, _TEXTBOOK_FANNED_OUT)
        return drained(events=events, found=found, seconds=seconds, peak_mebibytes=peak)

    def send(self, deliveries: int) -> Sample:
        self._prepare(deliveries, deliveries=True)
        received = _Received(self.receiver, deliveries)
        with self.target.connected() as connection:
            seconds, peak = self._timed(connection, TEXTBOOK_DELIVERIES, _TEXTBOOK_SENT, deliveries)
            found = _one(connection, _TEXTBOOK_RECORDED)
        return received.sample(found=found, seconds=seconds, peak_mebibytes=peak)

    def _prepare(self, events: int, *, deliveries: bool) -> None:
        self.target.empty()
        wanted = {"organization": self.organization, "url": f"{self.receiver.url}/ok"}
        self.target.run("benchmarks.textbook.backlog", {**wanted, "events": events, "deliveries": deliveries})
        self.target.tidy()

    def _timed(
        self, connection: psycopg.Connection, queue: str, counting: LiteralString, total: int
    ) -> tuple[float, float]:
        """How many seconds all of them take, and the peak of the worker's memory in MiB."""
        with textbook_worker(self.lab, self.target, queue=queue) as child, memory_watched(pid_of(child)) as peak:
            wait_until(lambda: _one(connection, counting) > 0, what="the textbook's worker finished a task")
            before, begin = _one(connection, counting), time.monotonic()
            wait_until(lambda: _one(connection, counting) >= total, what="the textbook's worker had finished")
            seconds = time.monotonic() - begin
        return seconds * total / max(1, total - before), peak.mebibytes


class _Received:
    """What the receiver got during one drain, as part of its sample."""

    def __init__(self, receiver: Receiver, expected: int) -> None:
        receiver.forget()
        self._receiver = receiver
        self._expected = expected
        self._before = receiver.counts()

    def sample(self, *, found: int, seconds: float, peak_mebibytes: float) -> Sample:
        """`found` are the deliveries that were recorded and that arrived; what arrived again counts as an error."""
        after = self._receiver.counts()
        return drained(
            events=self._expected,
            found=min(found, after.ids),
            seconds=seconds,
            peak_mebibytes=peak_mebibytes,
            unexpected=after.requests - after.ids,
            generator="receiver",
            generator_cpu=(after.cpu_seconds - self._before.cpu_seconds) / seconds,
        )


def _one(connection: psycopg.Connection, statement: LiteralString, *values: object) -> Any:
    row = connection.execute(statement, values).fetchone()
    assert row is not None
    return row[0]
