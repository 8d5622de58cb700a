"""What can be said of the images without building one: their file, what gets in, and the commands that they run."""

import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import yaml

from installation.local.data_dir import CHECKOUT
from installation.local.os_users import Account, closed_parents
from tests.support.deployment import DEPLOY, PUBLIC
from tests.support.http.clients import Client
from tests.support.servers import test_database_url
from tests.support.waiting import wait_until

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
PLATFORM = yaml.safe_load((DEPLOY / "all-in-one.compose.yaml").read_text())["services"]["platform"]
# In the place of the image's user: initdb wants one that has a name.
NOBODY = Account(uid=pwd.getpwnam("nobody").pw_uid, gid=pwd.getpwnam("nobody").pw_gid)


def stages() -> dict[str, str]:
    """The instructions of each stage of the Dockerfile, with those of the stage that it begins with."""
    found: dict[str, str] = {}
    for base, name, text in re.findall(
        r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL
    ):
        found[name] = found.get(base, "") + text
    return found


STAGES = stages()


def test_the_file_has_no_fault_that_hadolint_knows() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_ordinary_image_is_the_one_that_is_built_without_a_target() -> None:
    assert list(STAGES)[-1] == "platform"
    assert "pixeltable" not in re.sub("COPY .*", "", STAGES["platform"])


def test_the_base_is_one_image_and_always_the_same() -> None:
    """A tag may be another image tomorrow; what has this hash is what was looked at."""
    (base,) = {base for base in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) if ":" in base}
    assert re.fullmatch(r"python:3\.13-slim-trixie@sha256:[0-9a-f]{64}", base)


@pytest.mark.parametrize("name", ["platform", "all-in-one"])
def test_an_image_runs_as_an_ordinary_user_and_is_asked_to_stop(name: str) -> None:
    assert re.findall(r"^USER (\S+)$", STAGES[name], re.MULTILINE) == ["10001:10001"]
    assert "useradd --uid 10001 " in STAGES[name]
    assert "STOPSIGNAL SIGTERM" in STAGES[name]
    assert ">/app/REVISION" in STAGES[name]


def test_only_what_runs_gets_into_an_image() -> None:
    lines = (CHECKOUT / ".dockerignore").read_text().splitlines()
    assert [line for line in lines if not line.startswith(("#", "!"))] == ["*", "**/__pycache__", "**/*.pyc"]
    rooms = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
    assert {line[1:] for line in lines if line.startswith("!")} == {
        *rooms,
        "deploy/postgresql-programs.sh",
        "gunicorn.conf.py",
        "manage.py",
        "requirements.txt",
        "static",
        "templates",
    }


@pytest.mark.django_db
def test_postgresqls_programs_dump_without_the_package_and_know_tls(postgresql_programs: Path) -> None:
    newest = re.findall(r"image: postgres:(\d+\.\d+)", (CHECKOUT / "compose.yaml").read_text())
    for program in ("pg_dump", "pg_restore", "psql"):
        said = subprocess.run([postgresql_programs / program, "--version"], capture_output=True, text=True, check=True)
        assert [said.stdout.split()[-1]] >= newest
    refused = subprocess.run(
        [postgresql_programs / "pg_dump", "host=127.0.0.1 port=1 sslmode=verify-full sslrootcert=system"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Connection refused" in refused.stderr
    dump = subprocess.run(
        [postgresql_programs / "pg_dump", "--format=custom", "--schema-only", test_database_url()],
        capture_output=True,
        check=True,
    ).stdout
    listed = subprocess.run([postgresql_programs / "pg_restore", "--list"], input=dump, capture_output=True, check=True)
    assert b"TABLE public ingestion_event " in listed.stdout


def all_in_one_environment(data: Path, port: int) -> dict[str, str]:
    """That of the image, and of its compose file. The test listens on loopback, as all tests do."""
    image = dict(re.findall(r"(\w+)=(\S+)", " ".join(re.findall(r"^ENV (.*)$", STAGES["all-in-one"], re.MULTILINE))))
    assert (image.pop("EVENTS_DATA_DIR"), image.pop("HOST")) == ("/data", "0.0.0.0")
    del image["PATH"]
    given = {"PUBLIC_URL": PUBLIC, "EMAIL_URL": "console:", "EMAIL_TO_LOG": "true"}
    compose = {name: given.get(name, value) for name, value in PLATFORM["environment"].items()}
    own = {"EVENTS_DATA_DIR": str(data), "HOST": "127.0.0.1", "PORT": str(port)}
    return {"PATH": os.environ["PATH"], **image, **compose, **own}


def ordinary_user() -> list[str]:
    """What a command begins with to run as an ordinary user, when the tests run as root.

    The Python of the tests may lie in a folder that others may not enter: then that user may read everything.
    """
    if os.geteuid() != 0:
        return []
    command = ["setpriv", f"--reuid={NOBODY.uid}", f"--regid={NOBODY.gid}", "--clear-groups"]
    if any(closed_parents(path, NOBODY) for path in (Path(sys.executable).resolve(), CHECKOUT / "manage.py")):
        command += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return command


@contextmanager
def all_in_one(folder: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Its command, as an ordinary user, in a data folder of that user's."""
    command = re.findall(r"^CMD (\[.*\])$", STAGES["all-in-one"], re.MULTILINE)[-1]
    _, *arguments = yaml.safe_load(command)
    with (folder.parent / f"{folder.name}.log").open("wb") as log:
        process = subprocess.Popen(
            [*ordinary_user(), sys.executable, *arguments],
            cwd=CHECKOUT,
            env=all_in_one_environment(folder, port),
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(120)


@pytest.fixture
def data() -> Iterator[Path]:
    """What /data is in the container: a folder that belongs to the user who runs it."""
    tried = [*ordinary_user(), sys.executable, "-c", ""]
    if shutil.which(tried[0]) is None or subprocess.run(tried, capture_output=True, check=False).returncode != 0:
        pytest.skip("another user cannot be given what the Python of the tests needs")
    with tempfile.TemporaryDirectory(prefix="events-all-") as name:
        Path(name).chmod(0o755)
        folder = Path(name, "data")
        folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(folder, NOBODY.uid, NOBODY.gid)
        yield folder


@pytest.mark.long
def test_all_in_one_runs_without_root_takes_an_event_and_stops_in_time(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with all_in_one(data, port) as process:
        log = data.with_name("data.log")
        wait_until(lambda: b"Platform ready" in log.read_bytes() or process.poll() is not None, seconds=120)
        assert process.poll() is None, log.read_text()
        see_only_an_administrator(data, log.read_text())
        key = manage(data, port, "create_organization", "acme") and manage(data, port, "issue_key", "acme")
        client = Client(f"http://127.0.0.1:{port}", key)
        sent = client.post("/api/v1/events", {"type": "a.b", "data": 1}, **{"X-Forwarded-Proto": "https"})
        assert sent.status == 202, sent.body
        client.close()
        assert psutil.Process(process.pid).uids().effective == NOBODY.uid or os.geteuid() != 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(float(PLATFORM["stop_grace_period"].removesuffix("s"))) == 0
    assert (data / "postgres/PG_VERSION").stat().st_uid == (NOBODY.uid if os.geteuid() == 0 else os.geteuid())


def see_only_an_administrator(data: Path, printed: str) -> None:
    """What `DEMO=false` of the image leads to."""
    assert not (data / "demo.json").exists()
    admin = json.loads((data / "admin.json").read_text())
    assert printed.count(f"{admin['admin_username']} / {admin['admin_password']}\n") == 1
    assert "API key  " not in printed
    shared = json.loads((data / "environment.json").read_text())
    assert not {"WEBHOOK_ALLOW_HTTP", "WEBHOOK_ALLOWED_NETWORKS"} & shared.keys()


def manage(data: Path, port: int, *arguments: str) -> str:
    """What `docker exec` would run."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=CHECKOUT,
        env=all_in_one_environment(data, port),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
