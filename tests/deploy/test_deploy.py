"""What stands under deploy/ for a plain server starts what `make run` starts, and unsafe settings are refused."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.environment import SECRETS
from installation.local.data_dir import CHECKOUT
from tests.support.deployment import DEPLOY, KEY, MIGRATE, PROCESSES, PUBLIC, essence, program

pytestmark = pytest.mark.slow

SYSTEMD = DEPLOY / "systemd"


def unit(name: str) -> dict[str, str]:
    """What the unit says, and what is said for all of them."""
    (file,) = SYSTEMD.glob(f"events-{name}*.service")
    text = (SYSTEMD / "events-.service.d/common.conf").read_text() + file.read_text()
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


def started(name: str) -> list[str]:
    """Its command without `deploy/start`, which looks up the release, and without the number of the unit."""
    start, *command = shlex.split(unit(name)["ExecStart"].replace("%%", "%").replace("-%i@", "@"))
    assert start == "/opt/events-platform/current/deploy/start"
    return command


@pytest.mark.parametrize("name", PROCESSES)
def test_each_unit_starts_its_process_as_make_run_starts_it(name: str) -> None:
    assert essence(started(name)) == essence(program(name).command)


@pytest.mark.parametrize("name", PROCESSES)
def test_no_unit_is_killed_before_its_time_to_stop_is_over_and_each_comes_back(name: str) -> None:
    assert float(unit(name)["TimeoutStopSec"]) >= program(name).stop_seconds
    assert (unit(name)["Restart"], unit(name)["StartLimitIntervalSec"]) == ("always", "0")


def test_web_servers_share_one_socket_which_the_proxies_call() -> None:
    address = dict(re.findall(r"^(\w+)=(.*)$", (SYSTEMD / "events-web.socket").read_text(), re.MULTILINE))[
        "ListenStream"
    ]
    assert unit("web")["Sockets"] == "events-web.socket"
    assert f"server {address};" in (DEPLOY / "nginx.conf").read_text()
    assert f"reverse_proxy {address} " in (DEPLOY / "Caddyfile").read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_each_unit(tmp_path: Path) -> None:
    """All that it names exists here as well: the release, the user, the settings."""
    own = {"User=events": "User=root", "Group=events": "Group=root", "/etc/events-platform/environment": "/dev/null"}
    shutil.copytree(SYSTEMD, tmp_path, dirs_exist_ok=True)
    for file in (path for path in tmp_path.rglob("*") if path.is_file()):
        text = file.read_text().replace("/opt/events-platform/current", str(CHECKOUT))
        for theirs, ours in own.items():
            text = text.replace(theirs, ours)
        file.write_text(text)
    units = [str(path).replace("@.service", "@1.service") for path in tmp_path.glob("events*.*") if path.is_file()]
    for template in tmp_path.glob("*@.service"):
        shutil.copy(template, template.with_name(template.name.replace("@", "@1")))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    assert [line for line in done.stderr.splitlines() if "events" in line] == []


def test_the_installer_migrates_by_the_command_of_the_other_layouts() -> None:
    assert " ".join(MIGRATE[1:]) in (DEPLOY / "install.sh").read_text()


def test_the_units_set_only_settings_that_are_documented() -> None:
    documented = (CHECKOUT / "docs/settings.md").read_text()
    files = [SYSTEMD / "environment.example", *SYSTEMD.rglob("*.service"), *SYSTEMD.rglob("*.conf")]
    used = set(re.findall(r"^(?:Environment=)?([A-Z][A-Z_]+)=", "\n".join(map(Path.read_text, files)), re.MULTILINE))
    assert [name for name in used if f"`{name}`" not in documented] == []
    assert [name for name in SECRETS if f"`{name}_FILE`" not in documented] == []


def read_settings(*, told: str = "SECRET_KEY", **environ: str) -> "subprocess.CompletedProcess[str]":
    environ = {
        "PUBLIC_URL": PUBLIC,
        "SECRET_KEY": KEY,
        "DATABASE_URL": "postgresql://events@127.0.0.1:1/events",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "EMAIL_URL": "smtp://127.0.0.1:1",
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
    words = done.stdout.split()
    assert "synchronous_commit=on" in words, done.stderr
    assert words[-2:] == ["-c", "work_mem=8MB"]


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


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing_in_the_scripts() -> None:
    scripts = [path for path in DEPLOY.rglob("*") if path.is_file() and path.read_bytes()[:2] == b"#!"]
    scripts += [CHECKOUT / ".ci/run", CHECKOUT / "scripts/check"]
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
