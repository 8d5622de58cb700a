"""The benchmark of the attacks: what is over a bound is said and fails it; its table finds its place in the page."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.hostile.attacker import Attack, Attacker, Site, attacked
from benchmarks.hostile.broker import good_message, malformed
from benchmarks.hostile.bystander import Deed
from benchmarks.hostile.footprint import Footprint, Processes
from benchmarks.hostile.report import BEGIN, END, PAGE, AttackRow, HostileReport, PublishedReport, Stretch
from installation.local.data_dir import CHECKOUT
from installation.local.errors import UpError
from tests.support.waiting import wait_until

FACTS = {
    "measured_at": "2026-01-01", "commit": "abc", "cpu": "a processor", "cores": 2, "memory_gib": 8, "system": "Linux",
    "python": "3.13", "load_before": [0.1], "rounds": 1, "seconds": 1.0,
}  # fmt: skip
_HOLD_MEMORY = "import sys; kept = bytes(range(256)) * 400_000; print(flush=True); sys.stdin.read()"


def make_stretch(**changed: Any) -> Stretch:
    """A hundred requests of each kind, all as fast as their p99, in milliseconds."""
    p99: dict[Deed, float] = {**dict.fromkeys(Deed, 10.0), **changed.pop("p99", {})}
    latencies = {deed: [milliseconds / 1000] * 100 for deed, milliseconds in p99.items()}
    footprint = Footprint(memory={"web": 130.0}, cores={"web": 0.4}, **changed.pop("footprint", {}))
    footprint.memory |= changed.pop("memory", {})
    return Stretch(latencies=latencies, errors=changed.pop("errors", {}), footprint=footprint)


def make_row(**changed: Any) -> AttackRow:
    values = {key: changed.pop(key) for key in ("bound", "never", "outcomes", "ended", "note") if key in changed}
    row = AttackRow(name="an attack", bound=values.pop("bound", 2.0), **values)
    row.quiet, row.attacked = [make_stretch()], [make_stretch(**changed)]
    return row


def make_report(*rows: AttackRow, is_whole: bool = True) -> HostileReport:
    return HostileReport(facts=FACTS, rows=rows, is_whole=is_whole)


def test_it_holds_when_nothing_is_over_a_bound() -> None:
    report = make_report(make_row(p99={Deed.SEND: 20.0}, memory={"web": 200.0}))
    assert report.accounts_hold
    assert "No row is over a bound." in report.markdown()


@pytest.mark.parametrize(
    ("changed", "over"),
    [
        ({"p99": {Deed.SEND: 20.1}}, "send"),
        ({"p99": {Deed.READ: 20.1}}, "read"),
        ({"p99": {Deed.WEBHOOK: 20.1}}, "webhook"),
        ({"bound": 1.5, "p99": {Deed.SEND: 15.1}}, "send"),
        ({"errors": {"read: 503": 1}}, "errors"),
        ({"memory": {"web": 200.1}}, "memory"),
        ({"footprint": {"files": 65.0}}, "files"),
        ({"ended": ["sender"]}, "sender ended"),
        ({"never": "webhook", "outcomes": {"webhook": 3, "302": 9}}, "3 × webhook"),
        ({"note": "web does not answer"}, "web does not answer"),
    ],
)
def test_what_is_over_a_bound_is_said_and_fails(changed: dict[str, Any], over: str) -> None:
    report = make_report(make_row(**changed), replace(make_row(), name="a harmless attack"))
    assert not report.accounts_hold
    assert f"| **{over}** |" in report.markdown()
    assert "**Over a bound: an attack.**" in report.markdown()


def test_an_attack_that_could_not_be_measured_fails() -> None:
    report = make_report(AttackRow(name="an attack", bound=2.0, note="the worker ended"))
    assert not report.accounts_hold
    assert "the worker ended" in report.markdown()


def make_row_of(quiet: list[float], attacked: list[float]) -> AttackRow:
    """Of one stretch on each side, in which everything took so many milliseconds."""
    row = AttackRow(name="an attack", bound=2.0)
    for side, milliseconds in ((row.quiet, quiet), (row.attacked, attacked)):
        stretch = make_stretch()
        stretch.latencies.update({deed: [each / 1000 for each in milliseconds] for deed in Deed})
        side.append(stretch)
    return row


def test_a_ratio_is_that_of_all_stretches_together() -> None:
    row = make_row_of([10.0] * 150, [15.0] * 150)
    row.attacked.append(make_row_of([], [15.0] * 149 + [90.0]).attacked[0])
    assert row.attacked[1].p99(Deed.SEND) == 15.0
    row.attacked.append(make_row_of([], [15.0] * 40 + [90.0] * 10).attacked[0])
    assert row.ratio(Deed.SEND) == pytest.approx(9.0)


@pytest.mark.parametrize(
    ("attacked", "is_settled"),
    [
        ([10.0] * 196 + [15.0] * 4, True),
        # Now and then a draw has two of the slow ones, and now and then none: once may have been chance.
        ([10.0] * 196 + [15.0] + [50.0] * 3, False),
        ([10.0] * 100 + [50.0] * 100, True),
    ],
)
def test_a_row_goes_on_while_chance_decides(attacked: list[float], *, is_settled: bool) -> None:
    row = make_row_of([10.0] * 200, attacked)
    assert row.is_settled == is_settled
    assert replace(row, bound=None).is_settled


def test_the_results_can_be_read_by_programs(tmp_path: Path) -> None:
    make_report(make_row(outcomes={"401": 7})).write(tmp_path)
    (row,) = json.loads((tmp_path / "hostile.json").read_text())["rows"]
    assert row["outcomes"] == {"401": 7}
    assert row["ratios"]["send"] == 1.0


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_whole_run_takes_the_place_of_the_table_in_the_page(tmp_path: Path, *, is_whole: bool) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Before.\n\n{BEGIN}\nthe old table\n{END}\n\nAfter.\n")
    before = page.read_text()
    report = PublishedReport(facts=FACTS, rows=[make_row()], is_whole=is_whole, page=page)
    assert (page in report.write(tmp_path)) == is_whole
    report.write(tmp_path)
    if is_whole:
        assert page.read_text().startswith(f"Before.\n\n{BEGIN}\n")
        assert page.read_text().endswith(f"{END}\n\nAfter.\n")
        assert "the old table" not in page.read_text()
        assert page.read_text().count("| an attack |") == 1
    else:
        assert page.read_text() == before


def test_the_page_has_a_place_for_the_table() -> None:
    assert PAGE.read_text().partition(BEGIN)[2].count(END) == 1


def test_processes_that_grow_and_end_are_seen() -> None:
    command = [sys.executable, "-c", _HOLD_MEMORY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        processes = Processes({"web": process.pid})
        with processes.watched() as footprint:
            wait_until(lambda: footprint.memory.get("web", 0.0) > 97)
        assert processes.ended() == []
        process.kill()
        wait_until(lambda: processes.ended() == ["web"])


def test_each_malformed_message_is_wrong_in_one_place() -> None:
    good = good_message()
    messages = list(malformed(good))
    parts = [*good, *good["headers"], *good["properties"], *good["properties"]["delivery_info"]]
    assert len(set(messages)) == len(messages) > 5 * len(parts)
    assert json.dumps(good).encode() not in messages


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """The port of a server that gives each request the same answer."""
    loop, port = asyncio.new_event_loop(), 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(EOFError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        writer.close()

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.close()


async def ask_thrice(attacker: Attacker) -> None:
    for _ in range(3):
        await attacker.send(attacker.request("GET", "/"))


async def fail(attacker: Attacker) -> None:
    raise ValueError("this attack is wrong")


def test_an_attack_counts_what_became_of_it() -> None:
    attack = Attack(name="an attack", run=ask_thrice)
    with answering(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}") as port:
        site = Site(port=port, organization="any", api_key="none", session="none", broker="", database="")
        with attacked(attack, site, seconds=60) as outcomes:
            pass
    assert outcomes.counts == {"401": 3}


@pytest.mark.parametrize("attack", [Attack(name="an attack", run=fail), Attack(name="another", begin=fail, run=fail)])
def test_an_attack_that_fails_says_why(attack: Attack) -> None:
    site = Site(port=1, organization="any", api_key="none", session="none", broker="", database="")
    with pytest.raises(UpError, match="this attack is wrong"), attacked(attack, site, seconds=60):
        pass


@pytest.mark.long
def test_an_attack_is_measured_on_the_whole_platform(tmp_path: Path) -> None:
    options = ("--only", "hostile", "--rows", "that nobody has", "--seconds", "2", "--rounds", "1")
    command = [sys.executable, "-m", "benchmarks", *options, "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    (row,) = json.loads((tmp_path / "hostile.json").read_text())["rows"]
    assert (done.returncode != 0) == bool(row["over"])
    assert row["outcomes"].keys() == {"401"}
    assert row["attacked"][0]["errors"] == {}
    assert row["attacked"][0]["requests"] == {"send": 32, "read": 10, "webhook": 32}
    assert row["attacked"][0]["footprint"]["memory"].keys() == {"web", "worker", "sender", "beat"}
