"""deploy/install.sh on a machine with systemd: from the documents' first line to an event, upgrade, way back.

The commands are those of docs/operations/deploy.md and upgrade.md, as they stand there. What runs is real: systemd, the
distribution's PostgreSQL, Redis and Caddy, certificates from an authority.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from installation.local.data_dir import CHECKOUT
from tests.support.machines.booted_machine import booted_machine
from tests.support.machines.internet import NAME, connect
from tests.support.machines.private_machine import PrivateMachine
from tests.support.pages import run_by
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

URL = f"https://{NAME}"
SOURCE = "/usr/local/src/events-platform"
_HOME = "/opt/events-platform"


@pytest.fixture
def server() -> Iterator[PrivateMachine]:
    """A machine on which nobody has installed the platform, with a cluster of PostgreSQL as the package makes it."""
    with booted_machine() as machine:
        machine.run(
            "pg_lsclusters --no-header | grep -q . || pg_createcluster $(ls /usr/lib/postgresql | tail -n 1) main"
        )
        connect(machine)
        yield machine


DEPLOY, UPGRADE = "docs/operations/deploy.md", "docs/operations/upgrade.md"


def documented(page: str, number: int) -> str:
    """The block of that number among those of the page that this module runs."""
    return run_by(page, Path(__file__).name)[number].text


class Load:
    """`tests.support.http.steady_load` in the machine, from outside its proxy."""

    def __init__(self, machine: PrivateMachine) -> None:
        self._machine = machine
        key = machine.run("sed -n 's/^api_key=//p' /etc/events-platform/first-login").stdout.strip()
        # From now on the inbox has a delivery of each event, also while the version before runs.
        machine.run(f"curl --fail --silent --output /dev/null --header 'X-API-Key: {key}' {URL}/api/v1/inbox")
        self._output = tempfile.NamedTemporaryFile("r")  # noqa: SIM115 - closed by `end`
        command = f"exec {sys.executable} -m tests.support.http.steady_load {URL} {key}"
        certificates = "/etc/ssl/certs/ca-certificates.crt"
        self._process = machine.start(command, log=Path(self._output.name), SSL_CERT_FILE=certificates)

    def end(self) -> dict[str, object]:
        self._machine.run("pkill --full --exact --signal TERM '.*tests.support.http.steady_load .*'")
        self._process.wait(90)
        with self._output:
            return dict(json.loads(self._output.read()))


@contextmanager
def under_load(machine: PrivateMachine) -> Iterator[None]:
    """Nothing fails meanwhile, and each event that was accepted is there, processed and in the inbox."""
    load = Load(machine)
    # The load is there before anything happens.
    wait_until(lambda: count(machine, "type = 'load.sent'") > 100)
    yield
    outcome = load.end()
    accepted, failures = outcome.pop("accepted"), outcome["failures"]
    assert isinstance(accepted, list)
    assert failures == [], (failures, outcome["statuses"], outcome["slowest"])
    assert len(accepted) > 500
    ids = ",".join(f"'{event}'" for event in accepted)
    wait_until(lambda: count(machine, f"id IN ({ids})", "ingestion_event") == len(accepted))
    wait_until(lambda: count(machine, f"event_id IN ({ids})", "delivery_delivery") == len(accepted))


def count(machine: PrivateMachine, condition: str, table: str = "ingestion_event") -> int:
    query = f"SELECT count(*) FROM {table} WHERE {condition}"
    machine.path("/tmp/query.sql").write_text(query)
    return int(
        machine.run("psql --no-psqlrc -At -d events -f /tmp/query.sql", user="postgres", folder=Path("/")).stdout
    )


def runs(machine: PrivateMachine) -> str:
    """The name of the release that `current` leads to."""
    return Path(machine.run(f"readlink {_HOME}/current").stdout.strip()).name


def answering(machine: PrivateMachine) -> set[str]:
    """The revisions that answer, of forty answers."""
    asked = f"for n in $(seq 40); do curl -s {URL}/health/live; echo; done"
    return {json.loads(line)["revision"] for line in machine.run(asked).stdout.splitlines()}


def commit_before() -> str:
    """The commit before the one that is tested, which its users upgrade from."""
    asked = ["git", "-C", str(CHECKOUT), "rev-parse", "--quiet", "--verify", "HEAD~1:deploy/install.sh"]
    has_it = subprocess.run(asked, capture_output=True, check=False).returncode == 0
    return "HEAD~1" if has_it else "HEAD"


def commit(machine: PrivateMachine, script: str) -> str:
    """A new version of the source, made by a script; its revision."""
    author = "git -c user.name=Test -c user.email=test@example.com commit --quiet --all --allow-empty --message"
    machine.run(f"cd {SOURCE}; {script}; {author} 'A change'")
    return machine.run(f"git -C {SOURCE} rev-parse --short=12 HEAD").stdout.strip()


def installed(machine: PrivateMachine) -> None:
    """By the five documented commands, but with the commit before; an event is accepted, and is in the inbox."""
    checkout = f"\ngit -C {SOURCE} checkout --quiet {commit_before()}\n/usr/local"
    said = machine.run(documented(DEPLOY, 0).replace("\n/usr/local", checkout), folder=Path("/root")).stdout
    answer, inbox = (json.loads(found) for found in re.findall(r'^(\{"id".+?\})(\{"data".+\})$', said, re.MULTILINE)[0])
    assert answer["status"] == "accepted", said
    # The last command may come before the event does.
    assert [event["id"] for event in inbox["data"]] in ([answer["id"]], []), said


@pytest.mark.long
def test_a_server_is_installed_upgraded_and_taken_back_by_the_documents(server: PrivateMachine) -> None:
    installed(server)
    server.run(documented(DEPLOY, 1), folder=Path("/root"))
    first = runs(server)
    server.run(f"git -C {SOURCE} checkout --quiet -B main origin/HEAD")
    newer = commit(server, "true")

    with under_load(server):
        server.run(without_pull(documented(UPGRADE, 0)), folder=Path("/root"))
        assert answering(server) == {newer}
        second = runs(server)
        assert second.endswith(newer)

        broken = commit(server, "echo 'raise RuntimeError' >> events_platform/asgi.py")
        upgrade = server.run(without_pull(documented(UPGRADE, 0)), check=False, folder=Path("/root"))
        assert upgrade.returncode == 1, upgrade.stdout
        assert "back to" in upgrade.stdout, upgrade.stdout
        assert (runs(server), answering(server)) == (second, {newer}), broken

        server.run(documented(UPGRADE, 1), folder=Path("/root"))
        assert runs(server) == first
        assert len(answering(server)) == 1

    server.run(documented(UPGRADE, 2), folder=Path("/root"))


def without_pull(block: str) -> str:
    """The test makes the new version itself, in place of the repository."""
    assert block.startswith("git -C /usr/local/src/events-platform pull")
    return block.partition("\n")[2]
