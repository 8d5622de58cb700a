"""The alert rules, evaluated by Prometheus' own promtool: quiet on a new platform, loud in each trouble."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from installation.local.data_dir import CHECKOUT

pytestmark = pytest.mark.slow

OBSERVABILITY = CHECKOUT / "deploy/observability"
RULES = OBSERVABILITY / "alerts.yml"
WEB, WORKER = 'job="events-platform",instance="web-1:8000"', 'job="events-platform-workers",instance="worker-1:9300"'
ERRORS = f'events_http_requests_total{{{WEB},route="/api/v1/events",method="POST",status="503"}}'
BEAT = f"events_beat_heartbeat_timestamp_seconds{{{WEB}}}"
DATABASE = f"events_database_bytes{{{WEB}}}"
FLUSH_FAILURES = f"events_intake_flush_failures_total{{{WEB}}}"
DELIVERED, REFUSED = (
    f'events_delivery_attempts_total{{{WORKER},outcome="{one}"}}' for one in ("delivered", "http_error")
)
GONE = f'events_dead_letters_total{{{WORKER},reason="event_gone"}}'
DEFAULT_ROWS, WEEKS_AHEAD = (
    f'events_{name}{{{WEB},table="ingestion_event"}}' for name in ("default_partition_rows", "partition_weeks_ahead")
)
UP_WEB, UP_WORKER = f"up{{{WEB}}}", f"up{{{WORKER}}}"
HEARTBEAT_ERRORS = f'events_scrape_errors{{{WEB},part="heartbeat"}}'
OUTBOX_AGE, DUE_AGE = f"events_outbox_oldest_age_seconds{{{WEB}}}", f"events_deliveries_oldest_due_age_seconds{{{WEB}}}"
FAILED_OPEN = f"events_limiter_failed_open_requests_total{{{WEB}}}"
GIVEN_UP = f'events_processing_failures{{{WEB},state="given_up"}}'
MEMORY = f'events_process_resident_memory_bytes{{{WEB},role="web"}}'
DAY = 24 * 60

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus"
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is scraped, each `step` minutes, in promtool's notation: `0x5 1+2x3` is 0 six times, then 1, 3, 5, 7.

    `series` take the place of those of a healthy platform; None takes one away. Exactly the alerts `fired` shall fire.
    """

    name: str
    fired: frozenset[str] = frozenset()
    series: dict[str, str | None]
    minutes: int = 60
    step: int = 1

    def scraped(self) -> dict[str, str]:
        steps = self.minutes // self.step
        quiet = [
            HEARTBEAT_ERRORS,
            OUTBOX_AGE,
            DUE_AGE,
            FAILED_OPEN,
            GIVEN_UP,
            DEFAULT_ROWS,
            GONE,
            FLUSH_FAILURES,
            ERRORS,
        ]
        healthy: dict[str, str | None] = dict.fromkeys([*quiet, REFUSED], f"0x{steps}")
        healthy |= {UP_WEB: f"1x{steps}", UP_WORKER: f"1x{steps}", WEEKS_AHEAD: f"4x{steps}", DATABASE: f"60e6x{steps}"}
        healthy |= {BEAT: f"0+{60 * self.step}x{steps}", DELIVERED: f"0+60x{steps}", MEMORY: f"145e6x{steps}"}
        # Mostly scrapes and questions about health: an idle platform.
        healthy[ERRORS.replace("503", "200")] = f"0+{20 * self.step}x{steps}"
        return {name: values for name, values in (healthy | self.series).items() if values is not None}


def trouble(name: str, series: dict[str, str | None], *, minutes: int = 60, step: int = 1, also: str = "") -> Case:
    fired = frozenset({name.partition(":")[0], *also.split()})
    return Case(name=name, fired=fired, series=series, minutes=minutes, step=step)


QUIET = [
    Case(
        name="first hours",
        minutes=8 * 60,
        series={
            UP_WEB: "0 1x480",
            # Unknown until beat starts. promtool's clock begins in 1970, so "long ago" lies before that.
            BEAT: "-17e8x1 120+60x480",
            DATABASE: "10e6+139e3x359 60e6+1e3x120",
            # One 503 among ten requests, two more three minutes apart, and the moment of a restarted database.
            ERRORS.replace("503", "200"): "0x59 1+1x8 9x480",
            ERRORS: "0x62 1x300 2x2 3x300 13x480",
            FLUSH_FAILURES: "0x62 1x300 2x2 3x480",
            # The first webhook goes to an endpoint that does not exist.
            DELIVERED: "0x480",
            REFUSED: "0x60 1+1x9 10x480",
            OUTBOX_AGE: "0 90 0x480",
            f"{MEMORY.replace('web', 'worker')}": "168e6x480",
        },
    ),
    Case(name="first two days", minutes=2 * DAY, step=30, series={DATABASE: "10e6+4e6x12 60e6+2e5x84"}),
    Case(
        name="nobody sends anything",
        series={ERRORS.replace("503", "200"): "0x60", DELIVERED: "0x60", FLUSH_FAILURES: None, ERRORS: None},
    ),
    # Half a gigabyte a day, from nothing.
    Case(name="steady growth", minutes=9 * DAY, step=30, series={DATABASE: "10e6+104e5x432"}),
    Case(name="a small database doubles", minutes=9 * DAY, step=30, series={DATABASE: "60e6x336 60e6+4e5x96"}),
    Case(
        name="on again after five weeks, a minute after beat's hour",
        minutes=150,
        series={WEEKS_AHEAD: "-1x60 4x90", DEFAULT_ROWS: "40x60 0x90"},
    ),
    Case(
        name="Redis starts anew and has forgotten beat",
        series={
            HEARTBEAT_ERRORS: "0x9 1 0x50",
            BEAT: "0+60x9 stale -17e8 720+60x49",
            FAILED_OPEN: "0x9 5x51",
        },
    ),
]
TROUBLES = [
    trouble("NothingToScrape", {UP_WORKER: "1x10 0x50"}),
    trouble("NothingToScrape: no target", {UP_WEB: None, UP_WORKER: None}),
    trouble("MetricsIncomplete", {HEARTBEAT_ERRORS.replace("heartbeat", "tables"): "0x10 1x50"}),
    trouble("OutboxLags", {OUTBOX_AGE: "0x10 30+60x50"}),
    trouble("DeliveriesLate", {DUE_AGE: "0x10 30+60x50"}),
    trouble("ServerErrors", {ERRORS: "0x10 1+1x50"}),
    trouble("ServerErrors: under load", {ERRORS: "0x10 1+300x50", ERRORS.replace("503", "200"): "0+20000x60"}),
    trouble("FlushesFail", {FLUSH_FAILURES: "0x10 1x3 2x3 3x3 4x3 5x3 6x3 7x25"}),
    trouble("LimiterFailsOpen", {FAILED_OPEN: "0x10 1+5x50"}),
    trouble("DefaultPartitionFills", {DEFAULT_ROWS: "0x10 3x110"}, minutes=120),
    trouble("PartitionsMissing", {WEEKS_AHEAD: "1x180"}, minutes=180),
    trouble("AttemptsFail", {DELIVERED: "0+4x60", REFUSED: "0+12x60"}),
    trouble("BeatSilent", {BEAT: "0+60x10 600x50"}),
    trouble("BeatSilent: never seen", {BEAT: "-17e8x60"}),
    trouble(
        "BeatSilent: Redis is away",
        {BEAT: "0+60x10 stale", HEARTBEAT_ERRORS: "0x10 1x50"},
        also="MetricsIncomplete",
    ),
    # 720 MB a day on top of 2 GB.
    trouble("DatabaseGrows", {DATABASE: "2e9x336 2e9+15e6x96"}, minutes=9 * DAY, step=30),
    trouble("EventsGivenUp", {GIVEN_UP: "0x10 1x50"}),
    trouble("DeadLettersOfOurs", {GONE: "0x10 1x50"}),
    trouble("MemoryGrows", {MEMORY: "140e6+3e6x60"}, minutes=90),
]


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_takes_the_example_and_its_rules(tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path)
    token = tmp_path / "token"
    token.write_text("token")
    example = (OBSERVABILITY / "prometheus.yml").read_text()
    example, count = re.subn(r"(credentials_file: )\S+", rf"\g<1>{token}", example)
    assert count == len(yaml.safe_load(example)["scrape_configs"])
    (tmp_path / "prometheus.yml").write_text(example)
    promtool("check", "config", "--lint-fatal", tmp_path / "prometheus.yml")
    promtool("check", "rules", "--lint-fatal", tmp_path / "alerts.yml")


def test_the_example_tells_an_alertmanager() -> None:
    """Else alerts are found and nobody hears of them."""
    example = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())
    assert [one["static_configs"] for one in example["alerting"]["alertmanagers"]] == [
        [{"targets": ["alertmanager:9093"]}]
    ]


def test_each_alert_has_its_trouble() -> None:
    rules = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert list(dict.fromkeys(case.name.partition(":")[0] for case in TROUBLES)) == rules


@needs_promtool
@pytest.mark.parametrize("case", [*QUIET, *TROUBLES], ids=lambda case: case.name)
def test_what_fires(case: Case, tmp_path: Path) -> None:
    question = {
        "expr": f'group by (alertname) (count_over_time(ALERTS{{alertstate="firing"}}[{case.minutes}m]))',
        "eval_time": f"{case.minutes}m",
        "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(case.fired)],
    }
    inputs = [{"series": name, "values": values} for name, values in case.scraped().items()]
    file = {
        "rule_files": [str(RULES)],
        "evaluation_interval": f"{case.step}m",
        "tests": [{"interval": f"{case.step}m", "input_series": inputs, "promql_expr_test": [question]}],
    }
    (tmp_path / "case.yml").write_text(yaml.safe_dump(file))
    promtool("test", "rules", tmp_path / "case.yml")
