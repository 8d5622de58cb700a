"""What the clients' tests share: one started platform, and the TypeScript client built once."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.programs import build_typescript_client
from tests.support.machines.platforms import Platform, data_folder, launching
from tests.support.servers import free_port


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    with data_folder() as data, launching(data.parent) as launch:
        yield launch(data, free_port())


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built TypeScript client: once for all processes of the test run."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "clients"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return build_typescript_client(shared / "typescript")
