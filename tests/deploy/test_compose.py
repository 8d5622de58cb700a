"""The services of compose.yaml, with their commands, variables and files, but without containers."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import pbkdf2_hmac, sha256
from hmac import digest
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import redis
import yaml
from cryptography.fernet import Fernet
from psycopg import sql
from psycopg.conninfo import make_conninfo

from events_platform.up import valkey
from installation.local.data_dir import CHECKOUT
from tests.support.deployment import BACKUP, COMPOSE, DEPLOY, MIGRATE, PROCESSES, PUBLIC, essence, program
from tests.support.http.clients import Client
from tests.support.pages import run_by
from tests.support.servers import test_database_url
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

PAGE = "docs/operations/containers.md"
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = (*PROCESSES, "migrate", "backup")
REQUIRED = re.compile(r"\$\{PUBLIC_URL:\?[^}]*\}")
DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")


@pytest.mark.parametrize("name", PROCESSES)
def test_each_service_starts_its_process_as_make_run_starts_it(name: str) -> None:
    assert essence(SERVICES[name]["command"]) == essence(program(name).command)


@pytest.mark.parametrize("name", PROCESSES)
def test_no_service_is_killed_before_its_time_to_stop_is_over(name: str) -> None:
    assert grace(name) >= program(name).stop_seconds


def grace(service: str) -> float:
    return float(SERVICES[service]["stop_grace_period"].removesuffix("s"))


def test_migrations_and_backups_run_by_the_commands_of_the_documents() -> None:
    assert SERVICES["migrate"]["command"][1:] == MIGRATE
    assert SERVICES["backup"]["command"][1:] == BACKUP


@pytest.mark.parametrize("file", ["compose.yaml", "deploy/all-in-one.compose.yaml"])
def test_the_files_fit_the_schema(file: str) -> None:
    checker = str(Path(sys.executable).with_name("check-jsonschema"))
    command = [checker, "--builtin-schema", "vendor.compose-spec", file]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_containers_have_no_rights_they_do_not_need() -> None:
    all_in_one = yaml.safe_load((DEPLOY / "all-in-one.compose.yaml").read_text())["services"]["platform"]
    for service in (*(SERVICES[name] for name in OURS), all_in_one):
        assert (service["read_only"], service["cap_drop"], service["user"]) == (True, ["ALL"], "10001:10001")
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_images_of_others_have_a_version_and_a_hash_and_the_port_is_the_one_of_the_image() -> None:
    others = [service["image"] for service in SERVICES.values() if "build" not in service]
    assert [image for image in others if not re.fullmatch(r"[a-z/]+:\d+\.\d+@sha256:[0-9a-f]{64}", image)] == []
    (port,) = re.findall(r"^EXPOSE (\d+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert SERVICES["web"]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_every_variable_is_documented() -> None:
    documented = (CHECKOUT / "docs/settings.md").read_text()
    used = {name for service in OURS for name in SERVICES[service]["environment"]}
    assert [name for name in used if f"`{name}`" not in documented] == []
    of_compose = set(re.findall(r"\$\{(\w+)", (CHECKOUT / "compose.yaml").read_text()))
    assert [name for name in of_compose if f"`{name}`" not in (CHECKOUT / PAGE).read_text()] == []


def make_secrets(folder: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    script = DEPLOY / "make-secrets.sh"
    environ = {"PATH": os.environ["PATH"], **environ}
    return subprocess.run(["sh", script, folder], env=environ, capture_output=True, text=True, check=False)


def test_secrets_are_made_once_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    refused = make_secrets(folder)
    assert (refused.returncode, folder.exists()) == (2, False)
    assert "EMAIL_URL" in refused.stderr
    assert make_secrets(folder, EMAIL_URL="smtp://mail:25").returncode == 0
    assert {file.name for file in folder.iterdir()} == {*COMPOSE["secrets"]}
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o444}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    first = {file.name: file.read_text() for file in folder.iterdir()}
    assert len(set(first.values())) == len(first)
    Fernet(first["field_encryption_keys"].strip())
    again = make_secrets(folder, EMAIL_URL="smtp://another:25")
    assert (again.returncode, "made  " in again.stdout) == (0, False)
    assert {file.name: file.read_text() for file in folder.iterdir()} == first


def test_a_secret_that_was_deleted_fits_those_that_are_left(tmp_path: Path) -> None:
    assert make_secrets(tmp_path, EMAIL_URL="console:").returncode == 0
    before = {file.name: file.read_text() for file in tmp_path.iterdir()}
    for name in ("database_url", "redis_url", "celery_broker_url"):
        (tmp_path / name).unlink()
    assert make_secrets(tmp_path, BROKER="rabbitmq").returncode == 0
    password = (tmp_path / "rabbitmq_conf").read_text().partition("default_pass = ")[2].strip()
    amqp = f"amqp://events:{password}@rabbitmq:5672//\n"
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {**before, "celery_broker_url": amqp}


@dataclass(frozen=True, kw_only=True)
class Host:
    """Does what Compose would do, on loopback: `folder` takes the place of / and /tmp, `secrets` that of /run/secrets.

    The secrets were made by the commands of the page. In copies of them the names of the servers are addresses here.
    """

    folder: Path
    web_port: int
    redis_port: int
    database: str

    @property
    def secrets(self) -> Path:
        return self.folder / "run-secrets"

    def environment(self, service: str) -> dict[str, str]:
        values = {
            name: DEFAULT.sub(r"\1", REQUIRED.sub(PUBLIC, self.local(value)))
            for name, value in SERVICES[service]["environment"].items()
        }
        own = {"HOST": "127.0.0.1", "PORT": str(self.web_port), "METRICS_PORT": "0", "TMPDIR": str(self.folder)}
        own["WEB_CONCURRENCY"] = "1"  # each takes seconds to start
        return {"PATH": os.environ["PATH"], **values, **own}

    def command(self, service: str) -> list[str]:
        program, *arguments = map(self.local, SERVICES[service]["command"])
        if program == "python":
            return [sys.executable, *arguments]
        assert program == "valkey-server"
        own = ("--bind", "127.0.0.1", "--port", str(self.redis_port), "--dir", str(self.folder))
        return [str(valkey.binary()), *arguments, *own]

    def local(self, text: str) -> str:
        text = re.sub("^/tmp/|^/(?=backups$)", f"{self.folder}/", text)
        return text.replace("/run/secrets/", f"{self.secrets}/")

    def make_secrets(self) -> None:
        """By the commands of the page, as they stand."""
        (block,) = run_by(PAGE, "test_compose.py")
        (self.folder / "deploy").symlink_to(DEPLOY)
        subprocess.run(["sh", "-euc", block.text], cwd=self.folder, check=True, capture_output=True)
        assert (self.folder / ".env").read_text() == f"PUBLIC_URL={PUBLIC}\n"
        self.secrets.mkdir()
        for secret in (self.folder / "secrets").iterdir():
            text = secret.read_text().replace("@redis:6379/", f"@127.0.0.1:{self.redis_port}/")
            if secret.name == "database_url":
                password = self.secret("database_password")
                assert text == f"postgresql://events:{password}@postgres:5432/events\n"
                text = make_conninfo(test_database_url(), user=self.database, dbname=self.database)
            (self.secrets / secret.name).write_text(text)

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text().strip()

    def manage(self, *arguments: str, **environ: str) -> str:
        """A management command, to its end; what it prints."""
        done = subprocess.run(
            [sys.executable, "manage.py", *map(self.local, arguments)],
            cwd=CHECKOUT,
            env={**self.environment("migrate"), **environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @contextmanager
    def running(self, service: str) -> Iterator["subprocess.Popen[bytes]"]:
        with (self.folder / f"{service}.log").open("wb") as log:
            process = subprocess.Popen(
                self.command(service),
                cwd=CHECKOUT,
                env=self.environment(service) if service in OURS else {},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @contextmanager
    def created_database(self, psql: Path) -> Iterator[str]:
        """What the image of PostgreSQL does with the script, on the server of the tests; names are this test's own."""
        script = self.folder / "create-database.sql"
        text = (DEPLOY / "compose/create-database.sql").read_text()
        script.write_text(re.sub(r"\bevents\b", self.database, self.local(text)))
        superuser = test_database_url()
        command = [
            str(psql),
            "-v",
            "ON_ERROR_STOP=1",
            "--no-psqlrc",
            "--no-password",
            "--dbname",
            superuser,
            "-f",
            str(script),
        ]
        subprocess.run(command, check=True, capture_output=True)
        try:
            yield superuser
        finally:
            with psycopg.connect(superuser, autocommit=True) as server:
                name = sql.Identifier(self.database)
                server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
                server.execute(sql.SQL("DROP ROLE {}").format(name))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    with socket.create_server(("127.0.0.1", 0)) as web, socket.create_server(("127.0.0.1", 0)) as other:
        ports = web.getsockname()[1], other.getsockname()[1]
    host = Host(folder=tmp_path, web_port=ports[0], redis_port=ports[1], database=f"compose_{uuid4().hex}")
    host.make_secrets()
    return host


def check_redis(host: Host, process: "subprocess.Popen[bytes]") -> None:
    """It demands the password, which no list of processes shows, and never drops a message to make room."""
    password = host.secret("redis_conf").removeprefix("requirepass ")
    with redis.Redis(port=host.redis_port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with redis.Redis(port=host.redis_port, password=password) as client:
        assert client.config_get("maxmemory*")["maxmemory-policy"] == "noeviction"
        limit = int(SERVICES["redis"]["mem_limit"].removesuffix("m")) * 2**20
        assert 0 < int(client.config_get("maxmemory")["maxmemory"]) < limit
        assert client.config_get("save")["save"] == ""
    shown = Path(f"/proc/{process.pid}")
    if shown.exists():
        assert password.encode() not in (shown / "cmdline").read_bytes() + (shown / "environ").read_bytes()
    said, client_program, expected = SERVICES["redis"]["healthcheck"]["test"].split(" | ")
    assert (client_program, expected) == ("valkey-cli", "grep -qx PONG")
    sent = subprocess.run(["sh", "-c", host.local(said)], capture_output=True, check=True).stdout
    with socket.create_connection(("127.0.0.1", host.redis_port)) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("rb").read() == b"+OK\r\n+PONG\r\n"


def check_role(host: Host, superuser: str) -> None:
    """The platform's role owns its database, can do nothing beyond, and signs in with the password of its secret."""
    with psycopg.connect(superuser) as server:
        found = server.execute(
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolcanlogin, rolpassword,"
            " (SELECT datdba = pg_authid.oid FROM pg_database WHERE datname = rolname)"
            " FROM pg_authid WHERE rolname = %s",
            [host.database],
        ).fetchone()
    assert found is not None
    assert (*found[:6], found[7]) == (False, False, False, False, False, True, True)
    # RFC 5802: SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>
    _, parameters, keys = found[6].split("$")
    iterations, salt = parameters.split(":")
    salted = pbkdf2_hmac("sha256", host.secret("database_password").encode(), b64decode(salt), int(iterations))
    assert sha256(digest(salted, b"Client Key", "sha256")).digest() == b64decode(keys.split(":")[0])


def test_the_services_take_an_event_as_a_role_without_rights_and_stop_in_time(
    host: Host, postgresql_programs: Path
) -> None:
    with ExitStack() as stack:
        superuser = stack.enter_context(host.created_database(postgresql_programs / "psql"))
        check_role(host, superuser)
        server = stack.enter_context(host.running("redis"))
        wait_until(lambda: b"Ready to accept connections" in (host.folder / "redis.log").read_bytes())
        check_redis(host, server)
        host.manage(*SERVICES["migrate"]["command"][2:])
        host.manage("create_organization", "acme", "--plan", "pro")
        client = Client(f"http://127.0.0.1:{host.web_port}", host.manage("issue_key", "acme"))
        processes = {name: stack.enter_context(host.running(name)) for name in PROCESSES}
        wait_until(lambda: answers(client))
        event_reaches_the_inbox(client)
        said = host.manage(*SERVICES["backup"]["command"][2:], PATH=f"{postgresql_programs}:{os.environ['PATH']}")
        assert f"with {postgresql_programs}/pg_dump" in said
        client.close()
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        for name, process in processes.items():
            assert process.wait(grace(name)) == 0, name


def event_reaches_the_inbox(client: Client) -> None:
    behind_proxy = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}
    assert client.get("/api/v1/inbox").status == 301  # plain HTTP is led to https
    sent = client.post("/api/v1/events", {"type": "order.paid", "data": {"n": 1}}, **behind_proxy)
    assert sent.status == 202, sent.body

    def in_inbox() -> list[str]:
        listed = client.get("/api/v1/inbox?status=pending", **behind_proxy)
        assert listed.status == 200, listed.body
        return [event["id"] for event in listed.json()["data"]]

    wait_until(lambda: in_inbox() == [sent.json()["id"]])


def answers(client: Client) -> bool:
    try:
        return client.get("/health/live").status == 200
    except OSError:
        client.close()
        return False
