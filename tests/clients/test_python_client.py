"""The Python client against the platform as `make run` starts it, while parts of it, or the consumer, are killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from events_client import Client

from events_platform.up.processes import wait_until
from installation.local.data_dir import CHECKOUT
from tests.support.machines.platforms import START_SECONDS, Platform, data_folder, launching
from tests.support.servers import free_port

pytestmark = pytest.mark.slow

CLIENT = CHECKOUT / "clients/python"
SECONDS = 600
EVENTS = 600
# Pythons in whose environment the client is installed; .ci/run names the oldest and the newest that it finds.
PYTHONS = os.environ.get("CLIENT_PYTHONS", sys.executable).split(os.pathsep)
_CONSUMER = """
import sys
from events_client import Client
def handle(event):
    which = "again" if event.leases > 1 else "first"
    sys.stdout.write(f"{event.data} {which}\\n")
    sys.stdout.flush()
with Client() as client:
    client.inbox(sys.argv[1]).consume(handle, lease_seconds=3, concurrency=4)
"""


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with data_folder() as data, launching(data.parent) as launch:
        yield launch(data, free_port())


def environment(platform: Platform) -> dict[str, str]:
    """For programs that use the client; an installed one is found by itself."""
    demo = platform.demo()
    wanted = {"EVP_URL": demo["base_url"], "EVP_API_KEY": demo["api_key"], "PYTHONPATH": str(CLIENT / "src")}
    return {**{name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}, **wanted}


@pytest.mark.begin_first
@pytest.mark.parametrize("python", PYTHONS)
def test_its_own_tests_pass(platform: Platform, python: str) -> None:
    ran = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:django", "-p", "no:randomly", str(CLIENT)],
        cwd=CLIENT,
        env=environment(platform),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "EVP_URL" not in ran.stdout, "the tests that need the platform were skipped"


def test_nothing_is_lost_while_servers_and_consumers_are_killed(platform: Platform, tmp_path: Path) -> None:
    demo, output = platform.demo(), tmp_path / "handled"
    with Client(demo["base_url"], demo["api_key"]) as client, output.open("w") as file:
        name = "killed-and-well"
        client.subscriptions.create_inbox(name, event_types=["kill.*"])
        consumer = _consume(platform, name, file.fileno())
        try:
            with client.events.buffer(max_events=20) as buffer:
                for number in range(EVENTS):
                    buffer.send("kill.test", number)
                    if number % 200 == 50:
                        buffer.flush(SECONDS)
                        _kill_one(platform, number // 200)
                    if number == 300:
                        consumer.kill()
                        consumer.wait()
                        consumer = _consume(platform, name, file.fileno())
            _wait_until_handled(client, name, consumer, output)
            wait_until(lambda: not [*client.inbox(name).list()], seconds=60)
        finally:
            consumer.send_signal(signal.SIGTERM)
            assert consumer.wait(60) == 0
    lines = [line.split() for line in output.read_text().splitlines()]
    firsts = [number for number, which in lines if which == "first"]
    # Who gets an event once more is told so: nobody hears twice that it is the first time.
    assert len(firsts) == len(set(firsts))


def _consume(platform: Platform, name: str, output: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", _CONSUMER, name], env=environment(platform), stdout=output)


def _kill_one(platform: Platform, number: int) -> None:
    """The web server and the worker in turn, each with no time to say anything, and started again by the supervisor."""
    name = ("web", "worker")[number % 2]
    before = platform.pid(name)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: platform.pid(name) != before and platform.is_live(), seconds=START_SECONDS)


def _wait_until_handled(client: Client, name: str, consumer: "subprocess.Popen[bytes]", output: Path) -> None:
    ends = time.monotonic() + SECONDS
    while missing := {*range(EVENTS)} - {int(line.split()[0]) for line in output.read_text().splitlines()}:
        assert consumer.poll() is None, "the consumer has ended by itself"
        assert time.monotonic() < ends, _whereabouts(client, name, missing)
        time.sleep(0.2)


def _whereabouts(client: Client, name: str, missing: set[int]) -> str:
    """What the platform says of the events that nobody handled: lost before it stored them, or within it, or after."""
    subscription = next(each.id for each in client.subscriptions.list(kind="inbox") if each.name == name)
    stored = {event.data: event.id for event in client.events.list(type="kill.test")}
    lines = [f"{len(missing)} events were never handled; the platform stored {len(stored)}."]
    for number in sorted(missing):
        event = client.events.get(stored[number]) if number in stored else None
        deliveries = [each for each in event.deliveries if each.subscription == subscription] if event else []
        lines.append(f"{number}: {event.status if event else 'not stored'} {deliveries}")
    return "\n".join(lines)
