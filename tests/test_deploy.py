"""What stands under deploy/ and in compose.yaml is well formed, and starts the processes that `make run` starts."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from events_platform.environment import SECRETS, refuse_unsafe
from events_platform.up import programs
from events_platform.up.child import Program
from events_platform.up.configuration import Configuration
from events_platform.up.data_dir import CHECKOUT
from tests.clients import Client
from tests.servers import test_database_url
from tests.waiting import wait_until

DEPLOY = CHECKOUT / "deploy"
KUBERNETES = sorted(set((DEPLOY / "kubernetes").glob("*.yaml")) - {DEPLOY / "kubernetes/kustomization.yaml"})
COMPOSE: dict[str, Any] = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())
DOCUMENTS = [document for file in KUBERNETES for document in yaml.safe_load_all(file.read_text())]
PROCESSES = ("web", "worker", "sender", "beat")
PUBLIC = "https://events.example.com"
KEY = "p7Vq-3ZtXw_9LbYc2RmKdf8HsJgN4eUa6TyWoQ1i"


def program(name: str) -> Program:
    configuration = Configuration.read({})
    match name:
        case "web":
            return programs.web({})
        case "worker":
            return programs.worker({})
        case "sender":
            return programs.sender({})
        case _:
            return programs.beat(configuration, {})


def essence(command: list[str] | tuple[str, ...]) -> list[str]:
    """A command from its module on, without the paths that differ from place to place."""
    words = list(command[command.index("-m") + 1 :])
    if "--schedule" in words:
        words[words.index("--schedule") + 1] = "…"
    return [Path(word).name if word.endswith("gunicorn.conf.py") else word for word in words]


def deployment(name: str) -> Any:
    (found,) = [one for one in DOCUMENTS if (one["kind"], one["metadata"]["name"]) == ("Deployment", f"events-{name}")]
    return found["spec"]["template"]["spec"]


def unit(name: str) -> dict[str, str]:
    """What the unit says, and what is said for all of them."""
    files = ("events-.service.d/common.conf", f"events-{name}.service")
    text = "\n".join((DEPLOY / "systemd" / file).read_text() for file in files)
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


@pytest.mark.parametrize("name", PROCESSES)
def test_each_process_starts_everywhere_as_make_run_starts_it(name: str) -> None:
    expected = essence(program(name).command)
    assert essence(COMPOSE["services"][name]["command"]) == expected
    assert essence(deployment(name)["containers"][0]["command"]) == expected
    assert essence(shlex.split(unit(name)["ExecStart"].replace("%%", "%"))) == expected


@pytest.mark.parametrize("name", PROCESSES)
def test_nothing_is_killed_before_its_time_to_stop_is_over(name: str) -> None:
    seconds = program(name).stop_seconds
    assert float(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s")) >= seconds
    assert deployment(name)["terminationGracePeriodSeconds"] >= seconds
    assert float(unit(name)["TimeoutStopSec"]) >= seconds


@pytest.mark.parametrize(
    "command",
    [
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"],
        ["kubernetes-validate", "--strict", "--quiet", *map(str, KUBERNETES)],
        ["hadolint", "deploy/Dockerfile"],
    ],
    ids=lambda command: command[0],
)
def test_the_files_fit_their_schemas(command: list[str]) -> None:
    program = Path(sys.executable).with_name(command[0])
    done = subprocess.run([program, *command[1:]], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_containers_have_no_rights_they_do_not_need() -> None:
    for name in (*PROCESSES, "migrate"):
        service = COMPOSE["services"][name]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    for document in DOCUMENTS:
        if document["kind"] in ("Deployment", "Job"):
            (container,) = document["spec"]["template"]["spec"]["containers"]
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert not container["securityContext"]["allowPrivilegeEscalation"]


def test_images_have_a_version() -> None:
    images = re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    images += [service["image"] for service in COMPOSE["services"].values() if "build" not in service]
    pods = [one["spec"]["template"]["spec"] for one in DOCUMENTS if one["kind"] in ("Deployment", "Job")]
    images += [container["image"] for pod in pods for container in pod["containers"]]
    assert [image for image in images if not re.search(r":\d+\.\d+", image)] == []
    assert len({container["image"] for pod in pods for container in pod["containers"]}) == 1


def test_migrations_run_by_the_same_command_everywhere() -> None:
    job = next(one for one in DOCUMENTS if one["kind"] == "Job")["spec"]["template"]["spec"]
    expected = ["manage.py", "migrate", "--no-input"]
    assert COMPOSE["services"]["migrate"]["command"][1:] == expected
    assert job["containers"][0]["command"][1:] == expected
    assert shlex.split(unit("migrate")["ExecStart"])[1:] == expected


def test_ports_agree() -> None:
    (port,) = re.findall(r"^EXPOSE (\d+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert COMPOSE["services"]["web"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    (container,) = deployment("web")["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": int(port)}]
    assert f"server 127.0.0.1:{port};" in (DEPLOY / "nginx.conf").read_text()
    assert f"reverse_proxy 127.0.0.1:{port} " in (DEPLOY / "Caddyfile").read_text()


def test_the_files_set_only_settings_that_are_documented() -> None:
    documented = (CHECKOUT / "docs/settings.md").read_text()
    configuration = next(document for document in DOCUMENTS if document["kind"] == "ConfigMap")
    used = {*configuration["data"]}
    for name in PROCESSES:
        used |= {*COMPOSE["services"][name]["environment"]}
        used |= {variable["name"] for variable in deployment(name)["containers"][0].get("env", [])}
    used |= set(re.findall(r"^(\w+)=", (DEPLOY / "systemd/environment.example").read_text(), re.MULTILINE))
    used.add(unit("web")["Environment"].partition("=")[0])
    assert [name for name in used if f"`{name}`" not in documented] == []
    assert [name for name in SECRETS if f"`{name}_FILE`" not in documented] == []
    of_compose = set(re.findall(r"\$\{(\w+)", (CHECKOUT / "compose.yaml").read_text()))
    page = (CHECKOUT / "docs/operations/deploy.md").read_text()
    assert [name for name in of_compose if f"`{name}`" not in page] == []


def test_the_example_secrets_are_refused() -> None:
    secret = next(document for document in DOCUMENTS if document["kind"] == "Secret")["stringData"]
    servers = {name: secret[name.lower()] for name in ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL")}
    good = {**dict.fromkeys(servers, ""), "SECRET_KEY": KEY}
    for name, value in {**servers, "SECRET_KEY": secret["secret_key"]}.items():
        with pytest.raises(ImproperlyConfigured, match=f"{name} still holds the placeholder"):
            refuse_unsafe(debug=False, secrets={**good, name: value})
    with pytest.raises(ValueError, match="Fernet key"):
        Fernet(secret["field_encryption_keys"])


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    key, certificate = tmp_path / "privkey.pem", tmp_path / "fullchain.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=events.example.com"]
    subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    site = (DEPLOY / "nginx.conf").read_text().replace("/etc/ssl/events.example.com", str(tmp_path))
    (tmp_path / "site").write_text(site)
    main = f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{ access_log off; include {tmp_path}/site; }}\n"
    (tmp_path / "nginx.conf").write_text(main)
    done = subprocess.run(
        ["nginx", "-t", "-e", "stderr", "-c", tmp_path / "nginx.conf"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def read_settings(*, told: str = "SECRET_KEY", **environ: str) -> "subprocess.CompletedProcess[str]":
    environ = {
        "PUBLIC_URL": PUBLIC,
        "SECRET_KEY": KEY,
        "DATABASE_URL": "postgresql://events@127.0.0.1:1/events",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        **environ,
    }
    program = f"from events_platform import settings; print(settings.{told})"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, env=environ, capture_output=True, text=True, check=False
    )


def test_a_secret_is_read_from_its_file_without_the_line_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}x\n")
    done = read_settings(SECRET_KEY="", SECRET_KEY_FILE=str(tmp_path / "key"))
    assert done.stdout == f"{KEY}x\n", done.stderr


def test_options_of_the_database_url_do_not_end_durable_commits() -> None:
    url = "postgresql://events@127.0.0.1:1/events?options=-c%20work_mem%3D8MB"
    done = read_settings(told='DATABASES["default"]["OPTIONS"]["options"]', DATABASE_URL=url)
    assert done.stdout == "-c synchronous_commit=on -c work_mem=8MB\n", done.stderr


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ({"SECRET_KEY_FILE": "/dev/null"}, "SECRET_KEY and SECRET_KEY_FILE: both are set"),
        ({"SECRET_KEY": "", "SECRET_KEY_FILE": "/dev/null"}, "/dev/null is empty"),
        ({"SECRET_KEY": "", "SECRET_KEY_FILE": "/dev/null/key"}, "/dev/null/key cannot be read"),
        ({"DEBUG": "true"}, "DEBUG is true"),
        ({"SECRET_KEY": "a" * 50}, "SECRET_KEY is too easy to guess"),
        ({"SECRET_KEY": f"change-me-{KEY}"}, "SECRET_KEY still holds the placeholder"),
        ({"DATABASE_URL": "postgresql://events:change-me@db/events"}, "DATABASE_URL still holds the placeholder"),
    ],
)
def test_a_platform_with_https_refuses_unsafe_settings(environ: dict[str, str], complaint: str) -> None:
    done = read_settings(**environ)
    assert done.returncode != 0
    assert complaint in done.stderr.splitlines()[-1]


@dataclass(frozen=True, kw_only=True)
class Host:
    """Does what Compose would do, on loopback: `folder` takes the place of /run/secrets and of /tmp."""

    folder: Path
    port: int

    def environment(self, service: str) -> dict[str, str]:
        values = {
            name: self._local(value).replace("${PUBLIC_URL:?the https address that people and programs use}", PUBLIC)
            for name, value in COMPOSE["services"][service]["environment"].items()
        }
        own = {"HOST": "127.0.0.1", "PORT": str(self.port), "METRICS_PORT": "0", "TMPDIR": str(self.folder)}
        return {"PATH": os.environ["PATH"], **values, **own}

    def command(self, service: str) -> list[str]:
        command = COMPOSE["services"][service]["command"]
        assert command[0] == "python"
        return [sys.executable, *map(self._local, command[1:])]

    def _local(self, text: str) -> str:
        return re.sub("^(/run/secrets|/tmp)/", f"{self.folder}/", text)

    def write_secrets(self, **secrets: str) -> None:
        assert set(secrets) == set(COMPOSE["services"]["web"]["secrets"])
        for name, value in secrets.items():
            (self.folder / name).write_text(f"{value}\n")

    def run(self, *arguments: str) -> str:
        """A management command, to its end; what it prints."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=CHECKOUT,
            env=self.environment("migrate"),
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
                env=self.environment(service),
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


@pytest.fixture
def host(tmp_path: Path) -> Host:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = Host(folder=tmp_path, port=listener.getsockname()[1])
    host.write_secrets(
        database_url=test_database_url(),
        redis_url=os.environ["REDIS_URL"],
        celery_broker_url=os.environ["CELERY_BROKER_URL"],
        secret_key=KEY,
        field_encryption_keys=Fernet.generate_key().decode(),
        email_url="console:",
        metrics_token=KEY,
    )
    return host


@pytest.mark.django_db(transaction=True)
def test_the_services_of_the_compose_file_take_an_event_and_stop_in_time(host: Host) -> None:
    """With their commands, variables and files, but without containers."""
    host.run(*COMPOSE["services"]["migrate"]["command"][2:])
    host.run("create_organization", "acme", "--plan", "pro")
    client = Client(f"http://127.0.0.1:{host.port}", host.run("issue_key", "acme"))
    behind_proxy = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}
    with ExitStack() as stack:
        processes = {name: stack.enter_context(host.running(name)) for name in PROCESSES}
        wait_until(lambda: _answers(client))
        assert client.get("/api/v1/inbox").status == 301  # plain HTTP is led to https
        sent = client.post("/api/v1/events", {"type": "order.paid", "data": {"n": 1}}, **behind_proxy)
        assert sent.status == 202, sent.body

        def in_inbox() -> list[str]:
            listed = client.get("/api/v1/inbox?status=pending", **behind_proxy)
            assert listed.status == 200, listed.body
            return [event["id"] for event in listed.json()["data"]]

        wait_until(lambda: in_inbox() == [sent.json()["id"]])
        client.close()
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        for name, process in processes.items():
            grace = float(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s"))
            assert process.wait(grace) == 0, name


def _answers(client: Client) -> bool:
    try:
        return client.get("/health/live").status == 200
    except OSError:
        client.close()
        return False
