"""How fast webhooks are sent, and what a dead endpoint does to how soon those of others arrive."""

from functools import partial

from benchmarks.backlogs import OurSending, TextbookDrain, make_ordered_webhook, make_webhook
from benchmarks.comparing import LOOPBACK, Comparison, compare, facts_of
from benchmarks.lab import running_lab
from benchmarks.neighbours import Scene, rows_beside, silent_name_server
from benchmarks.options import Options
from benchmarks.progress import Progress
from benchmarks.receiver import receiving
from benchmarks.report import Report
from benchmarks.rows import Row
from benchmarks.targets import Tenant, prepared_platform, prepared_textbook
from benchmarks.workers import our_sender

TITLE = "Sending: webhooks a second, and what endpoints in trouble cost others"
# As many as take about `--seconds`: 12 000 and 800 by default.
_OUR_DELIVERIES_PER_SECOND, _TEXTBOOK_DELIVERIES_PER_SECOND = 1_500, 100
_BUSY = "busy"
_SENDING = "Sending, one sender process"
_HEALTHY = "one endpoint"
_ORDERED = "in order of 1 000 keys"
_KEYS = 1_000


def run_delivery(options: Options, progress: Progress) -> Report:
    """Measure the drain with one sender and nothing else running, then the latency with the whole platform running."""
    facts = facts_of(options)
    progress.say("Starting PostgreSQL, Valkey and a receiver")
    with running_lab() as lab, receiving(lab) as receiver, silent_name_server() as name_server:
        ours = prepared_platform(lab, **LOOPBACK, WEBHOOK_NAME_SERVERS=name_server)
        scene, rows = Scene(lab=lab, ours=ours, receiver=receiver), []
        ours.make_tenants([Tenant(name=_BUSY), Tenant(name="ordered")])
        if options.rows in _HEALTHY:
            rows.append(_drain_row(scene, options, progress))
        if options.rows in _ORDERED:
            rows.append(_ordered_row(scene, options, progress))
        rows += rows_beside(scene, options, progress)
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


def _ordered_row(scene: Scene, options: Options, progress: Progress) -> Row:
    """Each key's deliveries go one after another; the reference are the same events without an order."""
    lab, ours, receiver = scene.lab, scene.ours, scene.receiver
    url, deliveries = f"{receiver.url}/ok", round(_OUR_DELIVERIES_PER_SECOND * options.seconds)
    webhooks = {
        "ordered": make_ordered_webhook(ours, organization="ordered", url=url),
        _BUSY: make_webhook(ours, organization=_BUSY, url=url, paused=True),
    }
    with our_sender(lab, ours) as child:
        in_order, without_order = (
            OurSending(target=ours, child=child, receiver=receiver, organization=name, webhook=webhook, subjects=_KEYS)
            for name, webhook in webhooks.items()
        )
        comparison = Comparison(
            group=_SENDING,
            name=_ORDERED,
            ours=partial(in_order.drain, deliveries),
            reference=partial(without_order.drain, deliveries),
            reference_label="no order",
        )
        in_order.warm_up()
        progress.expect(2 * options.seconds * options.rounds)
        return compare(comparison, options, progress)
