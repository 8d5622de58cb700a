"""What endpoints in trouble, of one tenant, cost another one whose endpoint works."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import LiteralString

from benchmarks.backlogs import make_backlog, make_webhook, make_webhooks
from benchmarks.comparing import Comparison, compare
from benchmarks.journeys import measured_journeys, warm_up
from benchmarks.lab import Lab
from benchmarks.options import Options
from benchmarks.progress import Progress
from benchmarks.receiver import Receiver
from benchmarks.rows import Row
from benchmarks.samples import Sample
from benchmarks.servers import HOST, WebServer, free_port
from benchmarks.systems import platform_without_sender
from benchmarks.targets import Target, Tenant
from benchmarks.workers import SENDING, our_sender, wait_until, wake

_QUIET, _RATE = "quiet", 20.0
_GROUP = "From 202 to webhook, not idle"
_ALONE = "alone"

# As if they had never been tried.
_SET: LiteralString = """
UPDATE delivery_subscription
SET status = %s, failures = 0, failing_since = NULL, circuit_step = 0, circuit_open_until = NULL,
    circuit_probe_at = NULL, disabled_reason = ''
WHERE id = ANY(%s::uuid[])
"""
_MAKE_DUE: LiteralString = """
UPDATE delivery_delivery SET status = 'pending', attempts = 0, lease_id = NULL, next_attempt_at = now()
WHERE subscription_id = ANY(%s::uuid[]) AND (lease_id IS NOT NULL OR attempts > 0)
"""
_TRIED: LiteralString = """
SELECT EXISTS (
    SELECT FROM delivery_delivery
    WHERE subscription_id = ANY(%s::uuid[]) AND (lease_id IS NOT NULL OR attempts > 0)
)
"""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What every row needs."""

    lab: Lab
    ours: Target
    receiver: Receiver


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Endpoints of one tenant, with so many deliveries due to each."""

    tenant: str
    name: str
    due: int
    urls: Callable[[Receiver], list[str]]


def _hanging(receiver: Receiver) -> str:
    return f"{receiver.url}/hang"


def _refusing(_: Receiver) -> str:
    return f"http://{HOST}:{free_port()}/"


def _slow(seconds: int) -> Callable[[Receiver], list[str]]:
    return lambda receiver: [f"{receiver.url}/slow/{seconds}"]


TROUBLES = (
    Trouble(tenant="hanging", name="a hanging endpoint", due=50_000, urls=lambda one: [_hanging(one)]),
    Trouble(tenant="refusing", name="a refusing endpoint", due=50_000, urls=lambda one: [_refusing(one)]),
    Trouble(
        tenant="dead",
        name="1 000 dead endpoints",
        due=50,
        urls=lambda one: [_hanging(one)] * 500 + [_refusing(one)] * 500,
    ),
    Trouble(
        tenant="nameless",
        name="80 hanging name servers",
        due=50,
        urls=lambda _: [f"http://host-{number}.example/" for number in range(80)],
    ),
    Trouble(tenant="slow", name="an endpoint of 3 s", due=500, urls=_slow(3)),
    Trouble(tenant="slower", name="an endpoint of 14 s", due=200, urls=_slow(14)),
)


@contextmanager
def silent_name_server() -> Iterator[str]:
    """Address and port of one that takes every question and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((HOST, 0))
        yield f"{HOST}:{server.getsockname()[1]}"


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Measures the quiet tenant's webhooks, alone and while those of `webhooks`, which are in trouble, are due.

    Each measurement has a sender of its own: one that still waits for the others would not be alone.
    """

    lab: Lab
    target: Target
    server: WebServer
    receiver: Receiver
    api_key: str
    webhooks: list[str]

    def alone(self, events: int) -> Sample:
        self._set("paused")
        with our_sender(self.lab, self.target):
            warm_up(self.server, self.receiver, api_key=self.api_key)
            return self._measure(events)

    def beside(self, events: int) -> Sample:
        with our_sender(self.lab, self.target):
            warm_up(self.server, self.receiver, api_key=self.api_key)
            self._set("active")
            wake(self.target, SENDING)
            wait_until(self._are_tried, what="the sender tried the others")
            sample = self._measure(events)
        self._set("paused")
        return sample

    def _measure(self, events: int) -> Sample:
        return measured_journeys(self.server, self.receiver, api_key=self.api_key, events=events, rate=_RATE)

    def _set(self, status: str) -> None:
        with self.target.connected() as connection:
            connection.execute(_MAKE_DUE, [self.webhooks])
            connection.execute(_SET, [status, self.webhooks])

    def _are_tried(self) -> bool:
        with self.target.connected() as connection:
            row = connection.execute(_TRIED, [self.webhooks]).fetchone()
            return row is not None and bool(row[0])


def rows_beside(scene: Scene, options: Options, progress: Progress) -> list[Row]:
    """All programs but the sender run all the time."""
    troubles = [trouble for trouble in TROUBLES if options.rows in _name(trouble)]
    if not troubles:
        return []
    progress.say("Starting the platform, with deliveries due to endpoints in trouble")
    lab, ours, receiver = scene.lab, scene.ours, scene.receiver
    key, *_ = ours.make_tenants([Tenant(name=name) for name in (_QUIET, *(each.tenant for each in troubles))])
    make_webhook(ours, organization=_QUIET, url=f"{receiver.url}/ok")
    events = round(_RATE * options.seconds)
    with platform_without_sender(lab, ours) as platform:
        comparisons = []
        for trouble in troubles:
            neighbours = Neighbours(
                lab=lab,
                target=ours,
                server=platform.server,
                receiver=receiver,
                api_key=key,
                webhooks=_make(trouble, scene),
            )
            comparisons.append(
                Comparison(
                    group=_GROUP,
                    name=_name(trouble),
                    ours=partial(neighbours.beside, events),
                    reference=partial(neighbours.alone, events),
                    reference_label=_ALONE,
                    compared="p95",
                )
            )
        progress.expect(len(comparisons) * 2 * options.seconds * options.rounds)
        return [compare(comparison, options, progress) for comparison in comparisons]


def _make(trouble: Trouble, scene: Scene) -> list[str]:
    """The ids of its webhooks, which are paused, with all that waits for them."""
    urls = trouble.urls(scene.receiver)
    webhooks = make_webhooks(scene.ours, organization=trouble.tenant, urls=urls, paused=True)
    make_backlog(scene.ours, organization=trouble.tenant, events=trouble.due, process=True)
    return webhooks


def _name(trouble: Trouble) -> str:
    return f"{_RATE:.0f}/s beside {trouble.name}"
