"""A machine for a test that changes what only root may change: /etc, users, packages' services, well-known ports.

It shows this machine's files, and keeps what is written in memory; nothing of it remains. It has processes, a host
name and (by default) a network of its own, with a loopback interface alone: ports such as 443 and 5432 are free in
it, nothing outside reaches them, and no package can be fetched.

    def test_it_installs() -> None:
        with private_machine() as machine:                            # skips the test where none can be made
            machine.run("deploy/install.sh --yes")                    # bash -e as root, in the checkout
            machine.run("psql -c 'SELECT 1'", user="postgres")
            machine.path("/etc/events-platform/environment").read_text()   # any file of it, also to write
            server = machine.start("exec /opt/events-platform/bin/web")    # goes on; a Popen
            server.terminate()

Commands see a login's environment, not the one of the tests. Daemons that a command leaves behind go on until the
block ends. A file of the machine that is opened through `path` may be a Unix socket too: libpq connects to it by
`host=str(machine.path("/run/postgresql"))`.
"""

import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from installation.local.data_dir import CHECKOUT

_PROGRAMS = ("unshare", "nsenter", "pivot_root", "mount", "ip", "bash", "runuser")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# This machine's files go away from its view for good (pivot_root, umount) before it says that it is there: no command
# can reach them by mistake. Each command looks for the mark once more.
_MARK = "/.private-machine"
# /run is empty, as after a boot. What lies on other file systems than / is not in an overlay of /: it is bound,
# read-only, when a test needs it ($@). SIGCHLD is ignored so that the kernel reaps orphans: `pg_ctl stop` waits
# until its server is gone, and a zombie never is. The last process ends with its standard input, and all with it.
_MACHINE = """
mount -t tmpfs -o mode=755 private /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay private -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
cd /mnt/root
mount -t proc proc proc
mount -t sysfs -o ro sys sys
mount -t tmpfs -o mode=755 dev dev
mkdir dev/pts dev/shm
for name in null zero full random urandom tty; do touch dev/$name; mount --bind /dev/$name dev/$name; done
mount -t devpts -o newinstance,ptmxmode=666 pts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 shm dev/shm
mount -t tmpfs -o mode=755 run run
mkdir -m 1777 run/lock
for folder; do mkdir -p ".$folder"; mount --bind "$folder" ".$folder"; mount -o remount,ro,bind ".$folder"; done
if [ "$(readlink /proc/self/ns/net)" != "$OUTSIDE" ]; then ip link set lo up; fi
read -r pid _ < /proc/self/stat
mkdir -m 0 .this-machine
touch "./$MARK"
pivot_root . .this-machine
cd /
umount --lazy /.this-machine
rmdir /.this-machine
echo "$pid"
exec env --ignore-signal=CHLD cat
"""


@dataclass(frozen=True, kw_only=True)
class PrivateMachine:
    """`pid` is the number, outside, of its first process."""

    pid: int

    def path(self, path: str | Path) -> Path:
        """Where a file of the machine is for this process. A symbolic link that is absolute leads out of it."""
        root = Path(f"/proc/{self.pid}/root")
        assert (root / _MARK.lstrip("/")).exists(), "the private machine is not there (any more)"
        return root / str(path).lstrip("/")

    def run(
        self, script: str, *, user: str = "root", folder: Path = CHECKOUT, check: bool = True, **environ: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a script of bash to its end (`set -e`), with its output as text; AssertionError when it fails."""
        command = self._command(script, user, folder, environ)
        # Into a file: a pipe would not end before the daemons do that the script leaves behind.
        with tempfile.TemporaryFile("w+") as output:
            status = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
            ).returncode
            output.seek(0)
            text = output.read()
        assert not check or status == 0, f"{script}\n→ {status}\n{text}"
        return subprocess.CompletedProcess(command, status, text)

    def start(
        self, script: str, *, user: str = "root", folder: Path = CHECKOUT, log: Path | None = None, **environ: str
    ) -> "subprocess.Popen[bytes]":
        """Start a script and leave it running; it ends with the machine at the latest. `log` takes its output."""
        with (log or Path(os.devnull)).open("ab") as output:
            command = self._command(script, user, folder, environ)
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def _command(self, script: str, user: str, folder: Path, environ: Mapping[str, str]) -> list[str]:
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--uts", "--ipc"]
        values = {"PATH": _PATH, "USER": user, "LOGNAME": user, "LANG": "C.UTF-8", **environ}
        environment = ["env", "--ignore-environment", *(f"{name}={value}" for name, value in values.items())]
        become = [] if user == "root" else ["runuser", "--user", user, "--"]
        shell = ["bash", "-e", "-c", f'test -e {_MARK} || exit 99\nexport HOME=~\ncd "{folder}"\n{script}']
        return [*enter, *environment, *become, *shell]


@contextmanager
def private_machine(*, own_network: bool = True) -> Iterator[PrivateMachine]:
    """Start one, and end it with all of its processes; skip the test, with the reason, where none can be made.

    With `own_network=False` it shares this machine's network.
    """
    if reason := _why_not():
        pytest.skip(reason)
    with _started(own_network=own_network) as machine:
        yield machine


@contextmanager
def _started(*, own_network: bool) -> Iterator[PrivateMachine]:
    outside = Path("/proc/self/ns/net").readlink()
    separate = ["--mount", "--pid", "--fork", "--kill-child", "--uts", "--ipc", *(["--net"] if own_network else [])]
    folders = [str(folder) for folder in (CHECKOUT, CHECKOUT / ".venv") if _is_elsewhere(folder)]
    process = subprocess.Popen(
        ["unshare", *separate, "bash", "-e", "-c", _MACHINE, "bash", *folders],
        env={"PATH": _PATH, "OUTSIDE": str(outside), "MARK": _MARK},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        pid = process.stdout.readline().strip()
        assert pid, f"the private machine does not start: {process.stderr.read()}"
        yield PrivateMachine(pid=int(pid))
    finally:
        process.kill()
        process.communicate()  # until the pipes close, which its last process holds


def _is_elsewhere(folder: Path) -> bool:
    return folder.exists() and folder.stat().st_dev != Path("/").stat().st_dev


@functools.cache
def _why_not() -> str:
    """Empty when one can be made here."""
    if os.geteuid() != 0:
        return "only root can make a private machine"
    if missing := [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]:
        return f"a private machine needs {', '.join(missing)}"
    try:
        with _started(own_network=True) as machine:
            machine.run("touch /etc/.private")
    except AssertionError as error:
        return f"no private machine can be made here: {error}"
    return ""
