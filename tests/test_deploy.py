"""What stands under deploy/ for a plain server starts what `make run` starts, and unsafe settings are refused."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from events_platform.environment import SECRETS
from events_platform.up.data_dir import CHECKOUT
from tests.deployment import DEPLOY, KEY, MIGRATE, PROCESSES, PUBLIC, essence, program


def unit(name: str) -> dict[str, str]:
    """What the unit says, and what is said for all of them."""
    files = ("events-.service.d/common.conf", f"events-{name}.service")
    text = "\n".join((DEPLOY / "systemd" / file).read_text() for file in files)
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


@pytest.mark.parametrize("name", PROCESSES)
def test_each_unit_starts_its_process_as_make_run_starts_it(name: str) -> None:
    assert essence(shlex.split(unit(name)["ExecStart"].replace("%%", "%"))) == essence(program(name).command)


@pytest.mark.parametrize("name", PROCESSES)
def test_no_unit_is_killed_before_its_time_to_stop_is_over(name: str) -> None:
    assert float(unit(name)["TimeoutStopSec"]) >= program(name).stop_seconds


def test_the_unit_for_migrations_migrates() -> None:
    assert shlex.split(unit("migrate")["ExecStart"])[1:] == MIGRATE


def test_the_proxies_call_the_port_of_the_web_server() -> None:
    assert "server 127.0.0.1:8000;" in (DEPLOY / "nginx.conf").read_text()
    assert "reverse_proxy 127.0.0.1:8000 " in (DEPLOY / "Caddyfile").read_text()


def test_the_units_set_only_settings_that_are_documented() -> None:
    documented = (CHECKOUT / "docs/settings.md").read_text()
    used = set(re.findall(r"^(\w+)=", (DEPLOY / "systemd/environment.example").read_text(), re.MULTILINE))
    used.add(unit("web")["Environment"].partition("=")[0])
    assert [name for name in used if f"`{name}`" not in documented] == []
    assert [name for name in SECRETS if f"`{name}_FILE`" not in documented] == []


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
        ({"EMAIL_URL": "smtp+tls://change-me:x@mail:587"}, "EMAIL_URL still holds the placeholder"),
        ({"METRICS_TOKEN": "change-me-to-a-random-token"}, "METRICS_TOKEN still holds the placeholder"),
    ],
)
def test_a_platform_with_https_refuses_unsafe_settings(environ: dict[str, str], complaint: str) -> None:
    done = read_settings(**environ)
    assert done.returncode != 0
    assert complaint in done.stderr.splitlines()[-1]
