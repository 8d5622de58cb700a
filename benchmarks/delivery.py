"""How fast webhooks are sent, and what a dead endpoint does to how soon those of others arrive."""

from dataclasses import dataclass
from functools import partial

from benchmarks.backlogs import OurSending, TextbookDrain, make_backlog, make_webhook
from benchmarks.comparing import LOOPBACK, Comparison, compare, facts_of
from benchmarks.journeys import measured_journeys, warm_up
from benchmarks.lab import Lab, running_lab
from benchmarks.options import Options
from benchmarks.progress import Progress
from benchmarks.receiver import Receiver, receiving
from benchmarks.report import Report
from benchmarks.rows import Row
from benchmarks.samples import Sample
from benchmarks.servers import HOST, WebServer, free_port
from benchmarks.systems import platform_without_sender
from benchmarks.targets import Target, Tenant, prepared_platform, prepared_textbook
from benchmarks.workers import SENDING, our_sender, wait_until, wake

TITLE = "Sending: webhooks a second, and what a dead endpoint costs others"
# As many as take about `--seconds`: 12 000 and 800 by default.
_OUR_DELIVERIES_PER_SECOND, _TEXTBOOK_DELIVERIES_PER_SECOND = 1_500, 100
# What is due to the dead endpoint, and what another tenant sends meanwhile.
_DUE_TO_THE_DEAD = 50_000
_QUIET_RATE = 20.0
_BUSY, _QUIET = "busy", "quiet"
_SENDING = "Sending, one sender process"
_BESIDE = "From 202 to webhook, not idle"
_HEALTHY = "one endpoint"
_ALONE = "alone"
# The ways of being dead; each is the name of the tenant whose endpoint it is.
_HANGING, _REFUSING = "hanging", "refusing"

_REVIVE = """
UPDATE delivery_subscription
SET status = %s, failures = 0, failing_since = NULL, circuit_open_until = NULL, disabled_reason = '' WHERE id = %s
"""
_MAKE_DUE = """
UPDATE delivery_delivery SET status = 'pending', attempts = 0, lease_id = NULL, next_attempt_at = now()
WHERE subscription_id = %s AND (lease_id IS NOT NULL OR attempts > 0)
"""
_TRIED = """
SELECT EXISTS (SELECT FROM delivery_delivery WHERE subscription_id = %s AND (lease_id IS NOT NULL OR attempts > 0))
"""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What every row needs."""

    lab: Lab
    ours: Target
    receiver: Receiver


def run_delivery(options: Options, progress: Progress) -> Report:
    """Measure the drain with one sender and nothing else running, then the latency with the whole platform running."""
    facts = facts_of(options)
    progress.say("Starting PostgreSQL, Valkey and a receiver")
    with running_lab() as lab, receiving(lab) as receiver:
        ours = prepared_platform(lab, **LOOPBACK)
        _, key, *_ = ours.make_tenants([Tenant(name=name) for name in (_BUSY, _QUIET, _HANGING, _REFUSING)])
        scene, rows = Scene(lab=lab, ours=ours, receiver=receiver), []
        if options.rows in _HEALTHY:
            rows.append(_drain_row(scene, options, progress))
        rows += _beside_rows(scene, key, options, progress)
    return Report(
        name="delivery",
        title=TITLE,
        facts=facts,
        rows=rows,
        unit="deliveries",
        promise="received and recorded exactly once",
    )


def _drain_row(scene: Scene, options: Options, progress: Progress) -> Row:
    lab, ours, receiver = scene.lab, scene.ours, scene.receiver
    textbook = prepared_textbook(lab)
    textbook.make_tenants([Tenant(name=_BUSY)])
    webhook = make_webhook(ours, organization=_BUSY, url=f"{receiver.url}/ok", paused=True)
    drain = TextbookDrain(lab=lab, target=textbook, receiver=receiver, organization=_BUSY)
    with our_sender(lab, ours) as child:
        sending = OurSending(target=ours, child=child, receiver=receiver, organization=_BUSY, webhook=webhook)
        comparison = Comparison(
            group=_SENDING,
            name=_HEALTHY,
            ours=partial(sending.drain, round(_OUR_DELIVERIES_PER_SECOND * options.seconds)),
            reference=partial(drain.send, round(_TEXTBOOK_DELIVERIES_PER_SECOND * options.seconds)),
        )
        sending.warm_up()
        progress.expect(2 * options.seconds * options.rounds)
        return compare(comparison, options, progress)


@dataclass(frozen=True, kw_only=True)
class DeadEndpoint:
    """Measures the quiet tenant's webhooks, alone and while `webhook` of another tenant, which is dead, is due.

    Each measurement has a sender of its own: one that still waits for the dead endpoint would not be alone.
    """

    lab: Lab
    target: Target
    server: WebServer
    receiver: Receiver
    api_key: str
    webhook: str

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
            wait_until(self._is_tried, what="the sender tried the dead endpoint")
            sample = self._measure(events)
        self._set("paused")
        return sample

    def _measure(self, events: int) -> Sample:
        return measured_journeys(self.server, self.receiver, api_key=self.api_key, events=events, rate=_QUIET_RATE)

    def _set(self, status: str) -> None:
        """Pause or resume the dead endpoint, as if it had never been tried."""
        with self.target.connected() as connection:
            connection.execute(_MAKE_DUE, [self.webhook])
            connection.execute(_REVIVE, [status, self.webhook])

    def _is_tried(self) -> bool:
        with self.target.connected() as connection:
            row = connection.execute(_TRIED, [self.webhook]).fetchone()
            return row is not None and bool(row[0])


def _beside_rows(scene: Scene, api_key: str, options: Options, progress: Progress) -> list[Row]:
    """All programs but the sender run all the time."""
    ways = [way for way in (_HANGING, _REFUSING) if options.rows in _beside_name(way)]
    if not ways:
        return []
    progress.say("Starting the platform, with 50 000 deliveries due to each dead endpoint")
    lab, ours, receiver = scene.lab, scene.ours, scene.receiver
    make_webhook(ours, organization=_QUIET, url=f"{receiver.url}/ok")
    with platform_without_sender(lab, ours) as platform:
        comparisons = []
        for way in ways:
            webhook = _make_dead(way, scene)
            dead = DeadEndpoint(
                lab=lab, target=ours, server=platform.server, receiver=receiver, api_key=api_key, webhook=webhook
            )
            comparisons.append(_beside(way, dead, options))
        progress.expect(len(comparisons) * 2 * options.seconds * options.rounds)
        return [compare(comparison, options, progress) for comparison in comparisons]


def _make_dead(way: str, scene: Scene) -> str:
    """The paused webhook of a tenant of its own, with all that waits for it."""
    url = f"{scene.receiver.url}/hang" if way == _HANGING else f"http://{HOST}:{free_port()}/"
    webhook = make_webhook(scene.ours, organization=way, url=url, paused=True)
    make_backlog(scene.ours, organization=way, events=_DUE_TO_THE_DEAD, process=True)
    return webhook


def _beside(way: str, dead: DeadEndpoint, options: Options) -> Comparison:
    events = round(_QUIET_RATE * options.seconds)
    return Comparison(
        group=_BESIDE,
        name=_beside_name(way),
        ours=partial(dead.beside, events),
        reference=partial(dead.alone, events),
        reference_label=_ALONE,
        compared="p95",
    )


def _beside_name(way: str) -> str:
    return f"{_QUIET_RATE:.0f}/s beside a {way} endpoint"
