"""Each attack in turns with quiet stretches, on a platform of its own."""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.backlogs import make_webhook
from benchmarks.comparing import LOOPBACK, facts_of
from benchmarks.hostile.attacker import Attack, Site, attacked
from benchmarks.hostile.attacks import ATTACKS
from benchmarks.hostile.bystander import Bystander, Deed, Experience, bystanding
from benchmarks.hostile.footprint import Processes
from benchmarks.hostile.report import AttackRow, HostileReport, PublishedReport, Stretch, ratios_of
from benchmarks.journeys import warm_up
from benchmarks.lab import Lab, running_lab
from benchmarks.options import Options
from benchmarks.progress import Progress
from benchmarks.receiver import receiving
from benchmarks.systems import Platform, whole_platform
from benchmarks.targets import Target, Tenant, prepared_platform
from installation.local.errors import UpError

_BYSTANDER = "bystander"
# After an attack the web processes are calm again when they use no more of a core than this for a second.
_CALM, _CALM_LOOKS = 0.3, 45
# A row goes on for so many times its rounds while chance may have decided on which side of its bound it is.
MOST_TIMES = 3
# Each process has then read for the first time.
_WARM_UP_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """What every row needs. `keys` and `sessions` are the attackers', by their organizations."""

    lab: Lab
    target: Target
    bystander: Bystander
    keys: dict[str, str]
    sessions: dict[str, str]
    options: Options
    progress: Progress

    def site(self, attack: Attack, port: int) -> Site:
        organization = _organization(attack)
        return Site(
            port=port,
            organization=organization,
            api_key=self.keys[organization],
            session=self.sessions[organization],
            broker=self.target.environment["CELERY_BROKER_URL"],
            database=self.target.environment["DATABASE_URL"],
        )


def run_hostile(options: Options, progress: Progress) -> HostileReport:
    """Measure every attack: `rounds` times without it, then beside it."""
    facts = facts_of(options)
    attacks = [attack for attack in ATTACKS if options.rows in attack.name]
    if not attacks:
        raise UpError(f"No attack has {options.rows!r} in its name")
    progress.say("Starting PostgreSQL, Valkey and a receiver")
    with ExitStack() as stack:
        lab = stack.enter_context(running_lab())
        receiver = stack.enter_context(receiving(lab))
        target = prepared_platform(lab, **LOOPBACK)
        names = [_organization(attack) for attack in attacks]
        tenants = [Tenant(name=_organization(attack), plan=attack.plan, events_per_minute=None) for attack in attacks]
        key, *keys = target.make_tenants([Tenant(name=_BYSTANDER), *tenants])
        make_webhook(target, organization=_BYSTANDER, url=f"{receiver.url}/ok")
        sessions: list[str] = json.loads(target.run("benchmarks.platform_members", names))
        scene = _Scene(
            lab=lab,
            target=target,
            bystander=stack.enter_context(bystanding(receiver, key)),
            keys=dict(zip(names, keys, strict=True)),
            sessions=dict(zip(names, sessions, strict=True)),
            options=options,
            progress=progress,
        )
        progress.expect(len(attacks) * 2 * options.seconds * options.rounds)
        rows = [_row(attack, scene) for attack in attacks]
    kind = PublishedReport if options.publish else HostileReport
    return kind(facts=facts, rows=rows, is_whole=len(attacks) == len(ATTACKS))


def _organization(attack: Attack) -> str:
    return f"attacker-{ATTACKS.index(attack)}"


def _row(attack: Attack, scene: _Scene) -> AttackRow:
    """What an attack leaves behind meets no other one: the programs are started anew."""
    row = AttackRow(name=attack.name, bound=attack.bound, never=attack.never)
    try:
        with whole_platform(scene.lab, scene.target) as platform:
            warm_up(platform.server, scene.bystander.receiver, api_key=scene.bystander.api_key)
            scene.bystander.stay(platform.server.port, _WARM_UP_SECONDS)
            processes = Processes(platform.pids)
            _measure(row, attack, scene, platform, processes)
            row.ended = processes.ended()
    except UpError as error:
        # The rest of the table is worth having all the same.
        row.note = str(error).partition("\n")[0]
    scene.progress.say(
        f"{row.name}: {ratios_of(row)}; over: {', '.join(row.over) or 'nothing'}; answers: {row.outcomes}"
    )
    return row


def _measure(row: AttackRow, attack: Attack, scene: _Scene, platform: Platform, processes: Processes) -> None:
    port, seconds = platform.server.port, scene.options.seconds

    def stay() -> Experience:
        return scene.bystander.stay(port, seconds)

    for number in range(MOST_TIMES * scene.options.rounds):
        if number >= scene.options.rounds and row.is_settled:
            return
        _calm(scene, processes)
        row.quiet.append(_stretch(processes, stay))
        scene.progress.measured(f"{row.name}, quiet: {_told(row.quiet[-1])}", seconds=seconds)
        # The attacker may send in each round what its plan allows.
        scene.target.empty(keep_queues=True)
        with attacked(attack, scene.site(attack, port), seconds=seconds) as outcomes:
            row.attacked.append(_stretch(processes, stay))
        row.outcomes = dict(Counter(row.outcomes) + Counter(outcomes.counts))
        scene.progress.measured(f"{row.name}, attacked: {_told(row.attacked[-1])}", seconds=seconds)
        if processes.ended():
            # What follows would tell of a platform that is not whole.
            return


def _stretch(processes: Processes, stay: Callable[[], Experience]) -> Stretch:
    with processes.watched() as footprint:
        experience = stay()
    return Stretch(
        latencies=experience.latencies,
        errors=dict(experience.errors),
        footprint=footprint,
    )


def _calm(scene: _Scene, processes: Processes) -> None:
    """Wait until the attack before has been worked off, and take its events away."""
    for _ in range(_CALM_LOOKS):
        if processes.busy("web", 1.0) < _CALM:
            scene.target.empty(keep_queues=True)
            return
    raise UpError(f"the web processes are still busy {_CALM_LOOKS} s after the attack")


def _told(stretch: Stretch) -> str:
    latencies = ", ".join(f"{deed} {stretch.p99(deed):.1f}" for deed in Deed)
    memory = ", ".join(f"{name} {mebibytes:.0f}" for name, mebibytes in stretch.footprint.memory.items())
    text = f"p99 {latencies} ms; MiB {memory}; web CPU {stretch.footprint.cores['web']:.2f}"
    text += f"; files {stretch.footprint.files:.0f} MiB" if stretch.footprint.files >= 1 else ""
    return f"{text}; errors {stretch.errors}" if stretch.errors else text
