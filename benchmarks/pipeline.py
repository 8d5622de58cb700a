"""How fast accepted events are processed and fanned out, and how soon an event's webhook arrives."""

from dataclasses import dataclass
from functools import partial

from benchmarks.backlogs import OurProcessing, TextbookDrain, make_textbook_webhook, make_webhook
from benchmarks.comparing import LOOPBACK, Comparison, chosen, compare, facts_of
from benchmarks.journeys import measured_journeys, warm_up
from benchmarks.lab import Lab, running_lab
from benchmarks.options import Options
from benchmarks.progress import Progress
from benchmarks.receiver import Receiver, receiving
from benchmarks.report import Report
from benchmarks.rows import Row
from benchmarks.systems import whole_platform, whole_textbook
from benchmarks.targets import Target, Tenant, prepared_platform, prepared_textbook
from benchmarks.workers import our_worker

TITLE = "Processing: events fanned out a second, and how soon a webhook arrives"
# As many as take about `--seconds`: 40 000 and 2 000 by default.
_OUR_EVENTS_PER_SECOND, _TEXTBOOK_EVENTS_PER_SECOND = 5_000, 250
_CROWD = 1_000
# One event each 100 ms: far below what keeps anything busy.
_JOURNEYS_PER_SECOND = 10.0
_ONE, _CROWDED, _IDLE = "one", "crowded", "idle"
_DRAINS = "Processing, one worker process"
_JOURNEY = f"an event each {1000 / _JOURNEYS_PER_SECOND:.0f} ms"
_JOURNEYS = "From 202 to webhook, idle"


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Both builds, and the API key of the tenant `idle` of each."""

    ours: Target
    textbook: Target
    our_key: str
    textbook_key: str


def run_pipeline(options: Options, progress: Progress) -> Report:
    """Measure the drains with one worker and nothing else running, then the latency with the whole system running."""
    facts = facts_of(options)
    progress.say("Starting PostgreSQL, Valkey and a receiver")
    with running_lab() as lab, receiving(lab) as receiver:
        sides = _prepared(lab, receiver)
        rows = _drain_rows(lab, sides, receiver, options, progress)
        if options.rows in _JOURNEY:
            rows += _journey_rows(lab, sides, receiver, options, progress)
    return Report(name="pipeline", title=TITLE, facts=facts, rows=rows, promise="handed on exactly once")


def _prepared(lab: Lab, receiver: Receiver) -> Sides:
    ours, textbook = prepared_platform(lab, **LOOPBACK), prepared_textbook(lab)
    tenants = [Tenant(name=name) for name in (_ONE, _CROWDED, _IDLE)]
    url = f"{receiver.url}/ok"
    our_keys, textbook_keys = ours.make_tenants(tenants), textbook.make_tenants(tenants)
    for name, others in ((_ONE, 0), (_CROWDED, _CROWD - 1), (_IDLE, 0)):
        make_webhook(ours, organization=name, url=url, others=others)
    make_textbook_webhook(textbook, organization=_IDLE, url=url)
    return Sides(ours=ours, textbook=textbook, our_key=our_keys[-1], textbook_key=textbook_keys[-1])


def _drain_rows(lab: Lab, sides: Sides, receiver: Receiver, options: Options, progress: Progress) -> list[Row]:
    """One worker process of ours runs; that of the textbook starts and ends with its measurement."""
    events = round(_OUR_EVENTS_PER_SECOND * options.seconds)
    textbook = TextbookDrain(lab=lab, target=sides.textbook, receiver=receiver, organization=_ONE)
    with our_worker(lab, sides.ours, processes=1) as child:
        ours = OurProcessing(target=sides.ours, child=child)
        one, crowded = partial(ours.drain, _ONE, events), partial(ours.drain, _CROWDED, events)
        drain = partial(textbook.process, round(_TEXTBOOK_EVENTS_PER_SECOND * options.seconds))
        comparisons = chosen(
            [
                Comparison(group=_DRAINS, name="1 webhook", ours=one, reference=drain),
                Comparison(
                    group=_DRAINS,
                    name=f"{_CROWD} webhooks, of which 1 matches",
                    ours=crowded,
                    reference=one,
                    reference_label="with one webhook",
                ),
            ],
            options,
        )
        if comparisons:
            ours.warm_up(_ONE)
            ours.warm_up(_CROWDED)
        progress.expect(len(comparisons) * 2 * options.seconds * options.rounds)
        return [compare(comparison, options, progress) for comparison in comparisons]


def _journey_rows(lab: Lab, sides: Sides, receiver: Receiver, options: Options, progress: Progress) -> list[Row]:
    """Both systems run all the time; only one is sent events."""
    progress.say("Starting both systems")
    with whole_platform(lab, sides.ours) as ours, whole_textbook(lab, sides.textbook) as textbook_server:
        journeys = [
            partial(
                measured_journeys,
                server,
                receiver,
                api_key=key,
                events=round(_JOURNEYS_PER_SECOND * options.seconds),
                rate=_JOURNEYS_PER_SECOND,
            )
            for server, key in ((ours.server, sides.our_key), (textbook_server, sides.textbook_key))
        ]
        warm_up(ours.server, receiver, api_key=sides.our_key)
        warm_up(textbook_server, receiver, api_key=sides.textbook_key)
        comparison = Comparison(group=_JOURNEYS, name=_JOURNEY, ours=journeys[0], reference=journeys[1], compared="p95")
        progress.expect(2 * options.seconds * options.rounds)
        return [compare(comparison, options, progress)]
