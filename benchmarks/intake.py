"""How fast events are taken in: single events, batches, mixes, and what a flood does to the latency of others."""

from collections.abc import Callable
from contextlib import ExitStack

from benchmarks.lab import running_lab
from benchmarks.load import Load
from benchmarks.machine import machine_facts
from benchmarks.measuring import Bench
from benchmarks.options import Options
from benchmarks.progress import Progress
from benchmarks.report import Report
from benchmarks.rows import Measure, Row
from benchmarks.samples import Sample
from benchmarks.scenarios import Access, Scenario, scenarios
from benchmarks.streams import Kind, Stream
from benchmarks.targets import OURS, TEXTBOOK, new_tag, prepared_platform, prepared_textbook

TITLE = "Intake: events accepted a second, each one committed before its 202"
# Processes load their modules and open their connections before anything counts.
_WARM_UP_SECONDS = 1.0
_QUIET_RATE, _QUIET_CLIENTS = 200.0, 16
# Ten times the limit of the plans `free` and `business`, a second. The one who floods is on `free`, so that nearly
# all of it is refused from the first moment on.
_FLOODS = {"free": 10 * 100 / 60, "business": 10 * 10_000 / 60}
_FLOOD_CLIENTS = 32
_FLOODED = "One tenant floods at 10× its limit"
_ALONE = "without the flood"


def run_intake(options: Options, progress: Progress) -> Report:
    """Measure every row: `rounds` times ours, then the textbook build, in turns."""
    facts = machine_facts(options)
    chosen = [scenario for scenario in scenarios(options) if options.rows in scenario.name]
    floods = [plan for plan in _FLOODS if options.rows in _flood_name(plan)]
    progress.say("Starting PostgreSQL, Valkey and both servers")
    with ExitStack() as stack:
        lab = stack.enter_context(running_lab())
        targets = [prepared_platform(lab), prepared_textbook(lab)]
        accesses = [Access.made_for(target) for target in targets]
        ours, textbook = [Bench(target=target, server=stack.enter_context(target.served())) for target in targets]
        for bench, access in zip((ours, textbook), accesses, strict=True):
            warm_up = Stream(kind=Kind.PLAIN, api_keys=(access.one,), tag=new_tag())
            bench.measure(Load(stream=warm_up, clients=16, seconds=_WARM_UP_SECONDS), options)
        progress.expect(
            sum(scenario.seconds(options) for scenario in chosen) + 2 * len(floods) * options.seconds * options.rounds
        )
        rows = [_compared(scenario, (ours, textbook), accesses, options, progress) for scenario in chosen]
        rows += [_flooded(plan, ours, accesses[0], options, progress) for plan in floods]
    return Report(name="intake", title=TITLE, facts=facts, rows=rows)


def _compared(
    scenario: Scenario, benches: tuple[Bench, Bench], accesses: list[Access], options: Options, progress: Progress
) -> Row:
    loads: list[Callable[[Access], Load]] = [scenario.ours, scenario.textbook]
    measures = [Measure(label=OURS), Measure(label=TEXTBOOK)]
    row = Row(
        group=scenario.group,
        name=scenario.name,
        clients=scenario.clients,
        ours=measures[0],
        reference=measures[1],
    )
    row.note = next(filter(None, (_refusal(*side) for side in zip(benches, loads, accesses, strict=True))), "")
    seconds = scenario.seconds(options) / options.rounds / 2
    if row.note:
        progress.measured(f"{row.name}: {row.note}", seconds=2 * seconds * options.rounds)
        return row
    for _ in range(options.rounds):
        for bench, load, access, measure in zip(benches, loads, accesses, measures, strict=True):
            sample = bench.measure(load(access), options)
            measure.samples.append(sample)
            progress.measured(_line(row.name, measure.label, sample), seconds=seconds)
    row.note = _doubts(row)
    return row


def _refusal(bench: Bench, load: Callable[[Access], Load], access: Access) -> str:
    return bench.refusal(load(access))


def _flooded(plan: str, bench: Bench, access: Access, options: Options, progress: Progress) -> Row:
    """The latency of a tenant that sends little, beside the flood, against the same without it."""
    row = Row(
        group=_FLOODED,
        name=_flood_name(plan),
        clients=_QUIET_CLIENTS,
        compared="p99",
        ours=Measure(label=OURS),
        reference=Measure(label=_ALONE),
    )
    for _ in range(options.rounds):
        for measure, rate in ((row.reference, 0.0), (row.ours, _FLOODS[plan])):
            flood = _paced(access.free, rate, clients=_FLOOD_CLIENTS, options=options, over_limit=True)
            quiet = _paced(access.one, _QUIET_RATE, clients=_QUIET_CLIENTS, options=options)
            sample = bench.measure_beside(quiet, flood if rate else None)
            measure.samples.append(sample)
            progress.measured(_line(row.name, measure.label, sample), seconds=options.seconds)
    row.note = _doubts(row)
    return row


def _paced(api_key: str, rate: float, *, clients: int, options: Options, over_limit: bool = False) -> Load:
    stream = Stream(kind=Kind.PLAIN, api_keys=(api_key,), tag=new_tag())
    return Load(stream=stream, clients=clients, seconds=options.seconds, rate=rate, over_limit=over_limit)


def _flood_name(plan: str) -> str:
    return f"{_QUIET_RATE:.0f}/s beside a flood of {_FLOODS[plan]:,.0f}/s".replace(",", " ")


def _line(name: str, label: str, sample: Sample) -> str:
    text = f"{name}, {label}: {sample.rate:,.0f}/s, p50 {sample.p50:.1f} ms, p99 {sample.p99:.1f} ms"
    if sample.errors:
        text += f", {sample.errors} errors"
    return text if sample.accounts_hold else f"{text}, ACCEPTED {sample.accepted} BUT FOUND {sample.found}"


def _doubts(row: Row) -> str:
    """What a reader must know of the row's numbers."""
    samples = [*row.ours.samples, *row.reference.samples]
    doubts = []
    if any(sample.generator_was_bottleneck for sample in row.ours.samples):
        doubts.append("the load generator was the bottleneck")
    if not all(sample.accounts_hold for sample in samples):
        doubts.append("ACCEPTED AND FOUND DIFFER")
    return "; ".join(doubts)
