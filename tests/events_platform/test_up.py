"""The real `manage.py up`, with its own servers, on a free port and a folder of its own."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from events_platform.up.child import Identity
from events_platform.up.configuration import Configuration
from events_platform.up.leftovers import end_leftovers, record_children
from events_platform.up.output import Output
from events_platform.up.processes import group_members, started_at, wait_until
from events_platform.up.valkey import broker_url, on_database
from installation.local.data_dir import CHECKOUT, DataDir
from installation.local.errors import UNSUITABLE, UpError
from tests.support.machines.platforms import (
    START_SECONDS,
    STOP_SECONDS,
    Launch,
    Platform,
    data_folder,
    environment_of,
    launching,
    processes_of,
)
from tests.support.servers import free_port

pytestmark = pytest.mark.slow


@pytest.fixture
def data() -> Iterator[Path]:
    with data_folder() as folder:
        yield folder


@pytest.fixture
def launch(data: Path) -> Iterator[Launch]:
    with launching(data.parent) as start:
        yield start


@pytest.mark.faults
def test_it_works_and_after_kill_9_the_next_start_has_the_same_data(launch: Launch, data: Path) -> None:
    killed = launch(data, free_port())
    demo = _see_that_it_works(killed)
    killed.process.kill()
    killed.process.wait()

    again = launch(data, killed.port)
    assert again.is_live()
    assert again.demo() == demo
    assert again.stop() == 0
    assert processes_of(data) == []
    after = _manage(data, again.port, "migrate", "--check")
    assert (after.returncode, after.stderr.count("\n")) == (2, 1)


def _see_that_it_works(platform: Platform) -> dict[str, str]:
    """A platform on fresh data has what a person needs; returns its demo.json."""
    data = platform.data
    assert platform.is_live()
    demo = platform.demo()
    assert demo.keys() == {"base_url", "api_key", "organization", "admin_username", "admin_password"}
    assert demo["base_url"] == f"http://127.0.0.1:{platform.port}"
    assert {name: _mode(data / name) for name in ("demo.json", "environment.json", "secret_key")} == {
        "demo.json": 0o600,
        "environment.json": 0o600,
        "secret_key": 0o600,
    }
    printed = platform.log.read_text()
    assert demo["api_key"] in printed
    assert demo["admin_password"] in printed

    assert _manage(data, platform.port, "migrate", "--check").returncode == 0, "a second terminal reaches the database"
    same_data = _manage(data, free_port(), "up")
    assert (same_data.returncode, same_data.stderr.count("\n")) == (1, 1)
    assert "already running" in same_data.stderr

    sent = _manage(data, platform.port, "demo", "--repeat", "5")
    assert sent.returncode == 0, sent.stderr
    assert "events are in the inbox" in sent.stdout

    # Each process gives its sign within some seconds of its start.
    assert wait_until(lambda: _is_well(platform), seconds=START_SECONDS, pause=1.0), _doctor(platform)
    return demo


def _doctor(platform: Platform) -> list[str]:
    """What is wrong with it, but for the disks of the machine that runs the test."""
    told = _manage(platform.data, platform.port, "doctor", "--json")
    findings = json.loads(told.stdout)["findings"]
    return [each["what"] for each in findings if each["remedy"] and each["part"] != "disk"]


def _is_well(platform: Platform) -> bool:
    return _doctor(platform) == []


def test_two_platforms_run_side_by_side_and_a_killed_worker_is_replaced(launch: Launch, data: Path) -> None:
    one = launch(data / "one", free_port())
    other = launch(data / "other", free_port())
    assert one.is_live()
    assert other.is_live()
    assert one.demo()["api_key"] != other.demo()["api_key"]

    worker = psutil.Process(one.pid("worker"))
    family = {process.pid: started_at(process.pid) for process in (worker, *worker.children(recursive=True))}
    worker.kill()
    assert wait_until(lambda: one.pid("worker") != worker.pid, seconds=START_SECONDS)
    survivors = [pid for pid, start in family.items() if started_at(pid) == start]
    assert survivors == [], "its own children do not outlive it"
    assert "worker exited unexpectedly" in one.log.read_text()

    assert one.stop() == 0
    assert other.is_live(), "stopping one platform does not touch the other"


def test_port_in_use_is_one_clear_line(data: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = _manage(data, port, "up")
    assert refused.returncode == 1
    assert refused.stderr == f"Port {port} is in use; set PORT=… to another one.\n"
    assert refused.stdout == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("WORKER_CONCURRENCY", "0"),
        ("DEBUG", "perhaps"),
        ("DEMO", "perhaps"),
        ("HOST", "no.such.host.invalid"),
    ],
)
def test_bad_setting_is_one_clear_line(data: Path, name: str, value: str) -> None:
    refused = _manage(data, free_port(), "up", **{name: value})
    assert refused.returncode != 0
    assert refused.stderr.count("\n") == 1
    assert name in refused.stderr
    assert refused.stdout == ""
    assert processes_of(data) == []


@pytest.mark.parametrize(
    ("text", "demo"), [(None, True), ("", True), ("true", True), ("1", True), ("false", False), ("No", False)]
)
def test_without_a_demo_nothing_relaxes_where_webhooks_may_go(tmp_path: Path, text: str | None, demo: bool) -> None:
    environ = {"EVENTS_DATA_DIR": str(tmp_path), "SECRET_KEY": "x"} | ({} if text is None else {"DEMO": text})
    configuration = Configuration.read(environ)
    assert configuration.demo is demo
    given = configuration.platform_environment(environ)
    assert [given.get(name) for name in ("WEBHOOK_ALLOW_HTTP", "WEBHOOK_ALLOWED_NETWORKS")] == (
        ["true", "127.0.0.1/32"] if demo else [None, None]
    )
    asked = configuration.platform_environment({**environ, "WEBHOOK_ALLOWED_NETWORKS": "10.0.0.0/8"})
    assert asked["WEBHOOK_ALLOWED_NETWORKS"] == "10.0.0.0/8"


def test_a_bad_demo_setting_is_told_as_such() -> None:
    with pytest.raises(UpError, match=r"^DEMO is 'perhaps'; it must be true or false\.$") as refused:
        Configuration.read({"DEMO": "perhaps"})
    assert refused.value.status == UNSUITABLE


def test_a_stranger_with_a_recorded_pid_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        folder = DataDir(tmp_path)
        record_children(folder, [Identity(name="web", pid=stranger.pid, started="another boot:1")])
        assert end_leftovers(folder) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_recorded_process_that_ignores_sigterm_is_killed_with_its_group(tmp_path: Path) -> None:
    stubborn = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; sleep 60 & echo ready; wait; wait"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert stubborn.stdout is not None
    with stubborn.stdout:
        assert stubborn.stdout.readline() == b"ready\n"
        folder = DataDir(tmp_path)
        record_children(folder, [Identity(name="web", pid=stubborn.pid, started=started_at(stubborn.pid) or "")])
        assert end_leftovers(folder) == ["web"]
        assert stubborn.wait(timeout=STOP_SECONDS) == -signal.SIGKILL
        assert list(group_members(stubborn.pid)) == []


def test_printing_never_waits_for_a_reader() -> None:
    reader, writer = os.pipe()
    output = Output(writer)
    for _ in range(20_000):
        output.say("x" * 100)
    os.close(reader)
    output.flush(seconds=STOP_SECONDS)
    output.say("a reader that has gone is no error")
    output.flush(seconds=STOP_SECONDS)
    os.close(writer)


@pytest.mark.parametrize(
    ("url", "other", "broker"),
    [
        ("redis://:secret@host:6379/0", "redis://:secret@host:6379/7", "redis://:secret@host:6379/7"),
        ("redis://host", "redis://host/7", "redis://host/7"),
        ("rediss://host/2?ssl_cert_reqs=none", *["rediss://host/7?ssl_cert_reqs=none"] * 2),
        (
            "unix:///a%20b/c.sock?db=0",
            "unix:///a%20b/c.sock?db=7",
            "redis+socket:///a%20b/c.sock?virtual_host=7",
        ),
    ],
)
def test_another_database_of_the_same_redis(url: str, other: str, broker: str) -> None:
    assert on_database(url, 7) == other
    assert broker_url(url, 7) == broker


def _manage(data: Path, port: int, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CHECKOUT / "manage.py"), *arguments],
        env={**environment_of(data, port), **settings},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
