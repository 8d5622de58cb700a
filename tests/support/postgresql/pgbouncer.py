"""A real PgBouncer of the test's own on loopback, in transaction mode, with the file that the documentation shows."""

import os
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection

from tests.support.pages import blocks
from tests.support.waiting import wait_until

_PROGRAM = Path("/usr/sbin/pgbouncer")
_PAGE = "docs/operations/scaling.md"


class PgBouncer:
    """In front of the PostgreSQL that listens on `server_port`; `url` leads to the test's database, also afterwards."""

    def __init__(self, folder: Path, server_port: int) -> None:
        database = connection.settings_dict
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"postgresql://{database['USER']}@127.0.0.1:{self.port}/{database['NAME']}"
        self._file = folder / "pgbouncer.ini"
        target = f"{database['NAME']} = host=127.0.0.1 port={server_port} user={database['USER']}"
        text = _shown_file()
        for line, ours in {
            r"events = .*": target,
            r"listen_port = .*": f"listen_port = {self.port}\nunix_socket_dir =",
            r"auth_type = .*": "auth_type = any",
            r"auth_file = .*\n": "",
        }.items():
            text, replaced = re.subn(line, ours, text)
            assert replaced == 1, line
        self._file.write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        as_nobody = ["-u", "nobody"] if os.getuid() == 0 else []
        self._process = subprocess.Popen([_PROGRAM, "-q", *as_nobody, self._file])
        wait_until(self._listens, seconds=20)

    def kill(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def _shown_file() -> str:
    (block,) = [one for one in blocks(_PAGE) if (one.kind, one.argument) == ("file", "pgbouncer.ini")]
    return block.text


@contextmanager
def running_pgbouncer(server_port: int) -> Iterator[PgBouncer]:
    if not _PROGRAM.exists():
        pytest.skip("PgBouncer is not installed")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        pooler = PgBouncer(Path(folder), server_port)
        pooler.start()
        try:
            yield pooler
        finally:
            pooler.kill()
