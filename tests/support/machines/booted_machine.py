"""A machine with systemd, for tests of what is installed on a server: units, sockets, users, packages.

It shows this machine's files, or those of a `root` of its own, keeps what is written in memory, and boots in a network
of its own; slirp4netns gives it a way out, to fetch packages. It is used like a `PrivateMachine`:

    def test_it_installs() -> None:
        with booted_machine() as machine:
            machine.run("systemctl start events.target")
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.support.machines.private_machine import PrivateMachine
from tests.support.waiting import wait_until

_PROGRAMS = ("systemd-nspawn", "nsenter", "slirp4netns", "unshare")
# A machine as its distribution's image is: nothing is enabled that was on this one. All is mounted out of the others'
# sight, so that nothing is left of it, however it ends. 10.0.2.3 is where slirp4netns answers for names.
_MACHINE = """
mount -t tmpfs -o mode=755 booted /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay booted -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
cd /mnt/root
touch .private-machine
rm -f etc/systemd/system/*.wants/* etc/resolv.conf usr/sbin/policy-rc.d
echo nameserver 10.0.2.3 > etc/resolv.conf
echo 127.0.0.1 localhost > etc/hosts
exec systemd-nspawn --quiet --register=no --keep-unit --resolv-conf=off --private-network --boot --directory=/mnt/root
"""
_BOOT_SECONDS = 90
# A folder that each machine has; this checkout is not in one with files of its own.
_ANY = Path("/")


@contextmanager
def booted_machine(root: Path = Path("/")) -> Iterator[PrivateMachine]:
    """Boot one that shows the files below `root`; end it with all it runs. Skips the test where none can be booted."""
    if reason := _why_not():
        pytest.skip(reason)
    with ExitStack() as stack:
        console = stack.enter_context(tempfile.TemporaryFile("w+"))
        nspawn = subprocess.Popen(
            ["unshare", "--mount", "bash", "-e", "-c", _MACHINE, "bash", str(root)],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
        )
        stack.callback(_end, nspawn)
        wait_until(lambda: bool(_systemd_of(nspawn)) or nspawn.poll() is not None)
        console.seek(0)
        assert nspawn.poll() is None, console.read()
        machine = PrivateMachine(pid=_systemd_of(nspawn))
        wait_until(lambda: _has_booted(machine), seconds=_BOOT_SECONDS)
        network = subprocess.Popen(
            ["slirp4netns", "--configure", "--disable-host-loopback", str(machine.pid), "tap0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(_end, network)
        wait_until(lambda: "10.0.2.100" in machine.run("cat /proc/net/fib_trie", folder=_ANY).stdout)
        yield machine


def _systemd_of(nspawn: "subprocess.Popen[bytes]") -> int:
    """The number, outside, of the machine's first process; 0 while there is none."""
    with suppress(psutil.Error):
        return next((child.pid for child in psutil.Process(nspawn.pid).children() if child.name() == "systemd"), 0)
    return 0


def _has_booted(machine: PrivateMachine) -> bool:
    with suppress(AssertionError):
        return machine.run("systemctl is-active multi-user.target", folder=_ANY).returncode == 0
    return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Its child is the machine's first process, with which all others end."""
    with suppress(psutil.Error):
        for child in psutil.Process(process.pid).children():
            child.kill()
    process.kill()
    process.wait()


def _why_not() -> str:
    """Empty when one can be booted here."""
    if os.geteuid() != 0:
        return "only root can boot a machine"
    if missing := [name for name in _PROGRAMS if shutil.which(name) is None]:
        return f"a booted machine needs {', '.join(missing)}"
    if not Path("/lib/systemd/systemd").exists():
        return "systemd is not installed"
    return ""
