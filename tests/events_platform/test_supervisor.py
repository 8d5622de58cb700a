"""The supervisor of `manage.py up` outlives what keeps a program from starting again."""

import os
import time
from pathlib import Path

import pytest

from events_platform.up.child import Child, Program
from events_platform.up.configuration import Configuration
from events_platform.up.output import Output
from events_platform.up.processes import wait_until
from events_platform.up.supervisor import Supervisor, _Watched


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    environ = {**os.environ, "EVENTS_DATA_DIR": str(tmp_path / "data")}
    configuration = Configuration.read(environ)
    configuration.data.make()
    return Supervisor(configuration, Output(os.open(os.devnull, os.O_WRONLY)), environ)


def test_a_program_that_cannot_be_started_again_is_tried_until_it_can(supervisor: Supervisor, tmp_path: Path) -> None:
    script = tmp_path / "program"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    program = Program(name="program", command=(str(script),), environment={}, folder=tmp_path)
    child = Child(program, Output(os.open(os.devnull, os.O_WRONLY)))
    child.start()
    watched = _Watched(child, time.monotonic())
    wait_until(lambda: not child.running(), seconds=60)
    now = time.monotonic()
    supervisor._look_after(watched, now)
    script.unlink()
    supervisor._look_after(watched, now + 60)  # an OSError, as on a disk that is full
    assert watched.restart_at is not None
    assert watched.restart_at > now + 60
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    supervisor._look_after(watched, now + 120)
    assert watched.restart_at is None
    assert child.running()
    child.kill_group()


def test_a_record_that_cannot_be_written_ends_nothing(supervisor: Supervisor, tmp_path: Path) -> None:
    program = Program(name="program", command=("/bin/sleep", "60"), environment={}, folder=tmp_path)
    child = Child(program, Output(os.open(os.devnull, os.O_WRONLY)))
    watched = _Watched(child, time.monotonic(), restart_at=0.0)
    supervisor._data.root.rename(tmp_path / "elsewhere")
    supervisor._look_after(watched, time.monotonic())
    assert child.running()
    child.kill_group()


def test_a_program_stands_back_from_other_sessions(tmp_path: Path) -> None:
    program = Program(name="program", command=("/bin/sleep", "60"), environment={}, folder=tmp_path, niceness=5)
    child = Child(program, Output(os.open(os.devnull, os.O_WRONLY)))
    child.start()
    try:
        pid = child.identity.pid if child.identity else 0
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(os.getpriority(os.PRIO_PROCESS, 0) + 5, 19)
        autogroup = Path(f"/proc/{pid}/autogroup")
        if autogroup.exists():
            assert autogroup.read_text().endswith(" nice 5\n")
    finally:
        child.kill_group()
