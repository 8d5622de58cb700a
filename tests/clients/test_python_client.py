"""The Python client's own tests, in each Python that it is installed for, against a started platform."""

import os
import subprocess
import sys

import pytest

from tests.clients.programs import PYTHON_CLIENT, environment
from tests.support.machines.platforms import Platform

pytestmark = pytest.mark.slow

SECONDS = 600
# Pythons in whose environment the client is installed; .ci/run names the oldest and the newest that it finds.
PYTHONS = os.environ.get("CLIENT_PYTHONS", sys.executable).split(os.pathsep)


@pytest.mark.begin_first
@pytest.mark.parametrize("python", PYTHONS)
def test_its_own_tests_pass(platform: Platform, python: str) -> None:
    ran = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:django", "-p", "no:randomly", "."],
        cwd=PYTHON_CLIENT,
        env=environment(platform),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "EVP_URL" not in ran.stdout, "the tests that need the platform were skipped"
