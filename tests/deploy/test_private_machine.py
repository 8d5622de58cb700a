"""What a private machine promises to the tests that use it."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.machines.private_machine import PrivateMachine, private_machine

pytestmark = pytest.mark.slow


def test_nothing_that_is_changed_in_it_remains(tmp_path: Path) -> None:
    kept, own = tmp_path / "kept", Path("/srv/private-machine-test")
    kept.write_text("as it was\n")
    with private_machine() as machine:
        machine.run(f"rm {kept}; echo changed > {own}")
        assert machine.path(own).read_text() == "changed\n"
        assert not machine.path(kept).exists()
        machine.path(own).write_text("from outside\n")
        assert machine.run(f"cat {own}").stdout == "from outside\n"
    assert not own.exists()
    assert kept.read_text() == "as it was\n"


def test_no_command_runs_outside_of_it(tmp_path: Path) -> None:
    """A process that is not in a private machine, or no longer, is refused before the first line of the script."""
    with private_machine() as machine:
        root = machine.run("stat --format=%d /; ls -A /").stdout
        assert root.splitlines()[0] != str(Path("/").stat().st_dev)
    here = PrivateMachine(pid=os.getpid())
    done = here.run(f"touch {tmp_path}/reached", check=False)
    assert done.returncode == 99
    assert not (tmp_path / "reached").exists()
    with pytest.raises(AssertionError, match="not there"):
        here.path("/etc")


def test_processes_end_with_it_and_leave_no_zombies() -> None:
    with private_machine() as machine:
        machine.run("(sleep 1000 & echo $! > /srv/pid)")
        machine.run("kill $(cat /srv/pid); while kill -0 $(cat /srv/pid); do sleep 0.01; done 2>/dev/null")
        left = machine.start("exec sleep 1000")
    assert left.wait(20) != 0


def test_well_known_ports_are_free_in_it_and_closed_outside() -> None:
    with private_machine() as machine:
        program = "import socket; s = socket.create_server(('127.0.0.1', 443)); open('/srv/up', 'w'); s.accept()"
        server = machine.start(f'exec python3 -c "{program}"')
        machine.run("while ! test -e /srv/up; do sleep 0.01; done")
        machine.run("exec 3<>/dev/tcp/127.0.0.1/443")
        assert server.wait(20) == 0
        assert machine.run("ls /sys/class/net; ip -brief link").stdout.count("lo") >= 1
        outside = Path("/proc/self/ns/net").readlink()
        assert machine.run("readlink /proc/self/ns/net").stdout.strip() != str(outside)


def test_it_has_a_login_s_environment_and_its_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "of the tests")
    with private_machine() as machine:
        machine.run("useradd --system --home-dir /srv --shell /usr/sbin/nologin private-user")
        done = machine.run('echo "$(id -un):${DATABASE_URL-unset}:$GIVEN"', user="private-user", GIVEN="a b")
        assert done.stdout == "private-user:unset:a b\n"
        failed = machine.run("echo told; false; echo not", check=False)
        assert (failed.returncode, failed.stdout) == (1, "told\n")
        with pytest.raises(AssertionError, match="told"):
            machine.run("echo told; exit 3")
    with pytest.raises(subprocess.SubprocessError):
        subprocess.run(["id", "private-user"], check=True, capture_output=True)
