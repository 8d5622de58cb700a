"""From a bare Debian to the first event over https, by the documented commands alone.

Unlike in test_installer.py nothing is there beforehand: Debian's own installer of a minimal system makes the machine,
and all packages are fetched. It takes minutes, and needs the network.
"""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machines.booted_machine import booted_machine
from tests.support.machines.internet import connect
from tests.support.machines.private_machine import PrivateMachine
from tests.support.pages import run_by

SUITE = "bookworm"
COMMANDS = 5
# What an image of Debian for servers has beyond the minimal system.
_PACKAGES = "systemd-sysv,dbus,iproute2"


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[PrivateMachine]:
    if shutil.which("debootstrap") is None:
        pytest.skip("debootstrap is not installed")
    files = tmp_path / "debian"
    made = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", SUITE, str(files)]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
    _share_the_way_out(files)
    with booted_machine(files) as machine:
        connect(machine)
        yield machine


def _share_the_way_out(files: Path) -> None:
    """Whom this machine trusts, and how it finds packages, holds for the other one as well."""
    for path in [Path("/etc/pip.conf"), *Path("/usr/local/share/ca-certificates").glob("*.crt")]:
        if path.exists():
            copy = files / path.relative_to("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)


@pytest.mark.long
def test_five_commands_lead_from_a_bare_debian_to_an_event_over_https(bare: PrivateMachine) -> None:
    (first, *_) = run_by("docs/operations/deploy.md", "test_installer.py")
    commands = first.text.replace("\\\n", "").splitlines()
    assert len(commands) == COMMANDS
    transcript, said = "", ""
    for command in commands:
        started = time.monotonic()
        said = bare.run(command, folder=Path("/root")).stdout
        transcript += f"# {command}\n{said}\n({time.monotonic() - started:.0f} s)\n\n"
    sys.stdout.write(transcript)
    sent = re.search(r'^\{"id":"([0-9a-f-]{36})".*"status":"accepted"', transcript, re.MULTILINE)
    assert sent, transcript
    assert [event["id"] for event in json.loads(said)["data"]] == [sent[1]]
