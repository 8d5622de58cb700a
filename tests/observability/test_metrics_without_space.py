"""A full file system under the metrics folder ends no process, and takes no number away."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from installation.local.data_dir import CHECKOUT
from observability.metrics import files, folder
from observability.metrics.files import AllocatedFile, NumbersFile
from tests.support.metrics import samples
from tests.support.servers import serve, test_database_url
from tests.support.waiting import wait_until

KIB = 1024
_PROCESSES = "events_processes"
# Counts what it is told to on standard input: names, one a line.
_COUNTING = """
import sys
{patch}
from prometheus_client import Counter
counter = Counter("done", "Things done.", ["kind"])
print("ready", flush=True)
for line in sys.stdin:
    counter.labels(line.strip()).inc()
    print(counter.labels(line.strip())._value.get(), flush=True)
"""
_OURS = "from observability.metrics.folder import make_folder; make_folder()"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of 4 MiB, named as the metrics folder."""
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a file system")
    monkeypatch.setenv(folder.VARIABLE, str(path))
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path) -> Path:
    """Leave no byte; returns what to remove to have space again."""
    ballast = path / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4 * KIB))
        except OSError:
            return ballast


def counting(patch: str = _OURS) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", _COUNTING.format(patch=patch)],
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_sparse_map_would_end_the_process(small: Path) -> None:
    """What prometheus_client does by itself, and why files.py is there."""
    fill(small)
    process = counting(patch="")
    process.communicate("a\n")
    assert process.returncode == -signal.SIGBUS


def test_a_process_without_space_counts_for_itself_and_says_so_once(small: Path) -> None:
    fill(small)
    process = counting()
    out, errors = process.communicate("a\nb\na\n")
    assert (process.returncode, out.split()) == (0, ["ready", "1.0", "1.0", "2.0"])
    assert errors.count("No space for metrics") == 1


def test_a_file_that_cannot_grow_keeps_what_it_has(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PAUSE_SECONDS", 0.0)
    file = NumbersFile(str(small / "counter_1.db"))
    file.write_value("first", 1, 0)
    ballast = fill(small)
    names = [f"{number:05}" * 100 for number in range(200)]  # some 100 KiB
    for name in names:
        file.write_value(name, 2, 0)
    assert file.read_value("first") == (1, 0)
    assert {file.read_value(name) for name in names} == {(2, 0)}
    file.write_value("first", 3, 0)
    shared = stored(small / "counter_1.db")
    assert shared["first"] == 3
    assert 0 < len(shared) < len(names)
    # There is space again: the next write after a while asks for it.
    ballast.unlink()
    file.write_value("first", 4, 0)
    file.write_value(names[-1], 5, 0)
    shared = stored(small / "counter_1.db")
    assert (len(shared), shared["first"], shared[names[-1]]) == (201, 4, 5)
    file.close()


def stored(path: Path) -> dict[str, float]:
    return {key: value for key, value, _, _ in AllocatedFile.read_all_values_from_file(str(path))}


def test_the_numbers_of_ended_processes_wait_in_their_own_files_for_space(small: Path) -> None:
    ended = AllocatedFile(str(small / "counter_999999999.db"))
    ended.write_value("a", 2, 0)
    ended.close()
    ballast = fill(small)
    folder.add_up_ended()
    assert stored(small / "counter_999999999.db") == {"a": 2}
    ballast.unlink()
    folder.add_up_ended()
    assert stored(small / "counter_ended.db") == {"a": 2}
    assert not (small / "counter_999999999.db").exists()


def test_a_folder_that_cannot_be_written_stops_nobody(small: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    folder.make_folder()
    folder.clean_folder()
    folder.add_up_ended(999999999)
    with folder.reading() as path:
        assert path == small
    out, errors = counting().communicate("a\n")
    assert (out.split(), errors.count("No space for metrics")) == (["ready", "1.0"], 1)


def test_space_without_posix_fallocate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS: what is in the file stays, its holes get bytes too."""
    monkeypatch.delattr(os, "posix_fallocate")
    path = tmp_path / "file"
    path.write_bytes(b"a")
    os.truncate(path, 32 * KIB)
    files.allocate(path, 64 * KIB)
    assert path.read_bytes() == b"a" + bytes(64 * KIB - 1)
    assert path.stat().st_blocks * 512 >= 64 * KIB


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_all_processes_start_without_space_and_share_their_numbers_when_there_is_some(
    small: Path, tmp_path: Path
) -> None:
    ballast = fill(small)
    log = tmp_path / "log"
    with log.open("wb") as output, serve(log=output) as server, worker(output, tmp_path):

        def processes() -> set[tuple[str, float]]:
            with urllib.request.urlopen(f"{server.base_url}/metrics") as answer:
                found = samples(answer.read())
            return {(dict(labels)["role"], value) for (name, labels), value in found.items() if name == _PROCESSES}

        # Two of the web server, and the worker's parent for all of its.
        wait_until(lambda: log.read_text().count("No space for metrics") == 3, seconds=120)
        assert ("web", 2.0) not in processes()
        ballast.unlink()
        # Celery's processes write when they have a task, which beat sends every few seconds.
        wait_until(lambda: {("web", 2.0), ("beat", 1.0)} <= processes() and "worker" in dict(processes()))
        assert server.process.poll() is None


@contextmanager
def worker(output: IO[bytes], folder: Path) -> Iterator[None]:
    """Celery's worker with two processes, and beat in it."""
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "events_platform", "worker", "--concurrency=2"]
    process = subprocess.Popen(
        [*command, "-B", "-s", str(folder / "beat")],
        cwd=CHECKOUT,
        env={**os.environ, "DATABASE_URL": test_database_url()},
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    try:
        yield
        assert process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
