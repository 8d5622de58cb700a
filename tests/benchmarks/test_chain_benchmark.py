"""The benchmark of the whole chain: what is missing, came twice or came late is said; it measures the whole product."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chain.report import ChainReport, ChainRow, Passage
from benchmarks.samples import Sample
from installation.local.data_dir import CHECKOUT

FACTS = {
    "measured_at": "2026-01-01", "commit": "abc", "cpu": "a processor", "cores": 2, "memory_gib": 8, "system": "Linux",
    "python": "3.13", "load_before": [0.1], "rounds": 1, "seconds": 1.0,
}  # fmt: skip
LOAD = Sample(
    seconds=1.0, accepted=500, p50=1.0, p95=2.0, p99=3.0, generator="python", generator_cpu=0.1, statuses={202: 500}
)
PASSAGE = Passage(
    load=LOAD, seconds=2.0, stored=500, delivered=500, received=500, ids=500, consumed=0, p50=20.0, p99=900.0,
    cpu={"web": 300.0, "worker": 200.0}, disk={"ingestion_event": 800.0}, wal=2000.0,
)  # fmt: skip


def make_row(passage: Passage = PASSAGE, **changed: Any) -> ChainRow:
    return replace(ChainRow(name="a row", rate=500.0, webhooks=1), passages=[passage], **changed)


def test_it_holds_when_all_was_delivered_once() -> None:
    report = ChainReport(facts=FACTS, rows=[make_row()])
    assert report.accounts_hold
    assert "| a row | 500 | 250 | 1.0 | 3.0 | 20.0 | 900 | 2000 |" in report.markdown()
    assert "| a row | 300 | 200 | 500 |" in report.markdown()
    assert "Sustained: 500 events/s" in report.markdown()
    assert "accepted = stored = delivered in every row." in report.markdown()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"stored": 499, "delivered": 499, "received": 499, "ids": 499}, "500 accepted, 499 stored"),
        ({"stored": 501, "delivered": 501, "received": 501, "ids": 501}, "500 accepted, 501 stored"),
        ({"delivered": 499}, "500 webhooks due, 499 delivered, 500 received"),
        ({"received": 501}, "500 webhooks due, 500 delivered, 501 received"),
        ({"ids": 499}, "500 stored, 499 of them received"),
        ({"load": replace(LOAD, failures=2)}, "2 requests failed"),
    ],
)
def test_what_is_missing_or_came_twice_is_said_and_fails(changed: dict[str, Any], told: str) -> None:
    report = ChainReport(facts=FACTS, rows=[make_row(replace(PASSAGE, **changed))])
    assert not report.accounts_hold
    assert f"A ROW: {told}." in report.markdown()


def test_what_a_consumer_missed_is_said() -> None:
    assert make_row(consumed=True).faults() == ["500 stored, 0 consumed"]
    assert make_row(replace(PASSAGE, consumed=500), consumed=True).faults() == []


@pytest.mark.parametrize("changed", [{"p99": 1001.0}, {"load": replace(LOAD, accepted=490)}])
def test_a_rate_that_is_late_or_not_taken_is_not_sustained(changed: dict[str, Any]) -> None:
    row = make_row(replace(PASSAGE, **changed))
    assert not row.is_sustained
    assert "No rate of these is sustained." in ChainReport(facts=FACTS, rows=[row]).markdown()


@pytest.mark.long
def test_the_whole_product_is_measured(tmp_path: Path) -> None:
    options = ("--only", "chain", "--rows", "inbox consumer", "--seconds", "2", "--rounds", "1")
    command = [sys.executable, "-m", "benchmarks", *options, "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / "chain.json").read_text())["rows"]
    (passage,) = row["passages"]
    assert passage["cpu"].keys() == {"supervisor", "web", "worker", "sender", "beat", "PostgreSQL", "Valkey"}
    assert all(passage["disk"][name] > 0 for name in ("ingestion_event", "delivery_delivery", "delivery_attempt"))
    assert passage["stored"] == passage["delivered"] == passage["consumed"] > 0
