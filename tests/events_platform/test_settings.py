"""What single settings do at the start: their defaults, and the line with which a bad one stops it."""

import subprocess
import sys

import pytest
from celery.beat import PersistentScheduler
from kombu.utils.imports import symbol_by_name

from events_platform.celery import app
from events_platform.up import programs
from installation.local.data_dir import CHECKOUT

KEY = "p7Vq-3ZtXw_9LbYc2RmKdf8HsJgN4eUa6TyWoQ1iBxEv5CkMhGzAnDrSj0PuFlOI"
ENVIRONMENT = {
    "PUBLIC_URL": "https://events.example.com",
    "SECRET_KEY": KEY,
    "DATABASE_URL": "postgresql://events@127.0.0.1:1/events",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "EMAIL_URL": "smtp://127.0.0.1:1",
}
# What the worker of that many processes says of itself, without anything on its command line.
PROCESSES = "__import__('events_platform.celery', fromlist=['app']).app.Worker().concurrency"
HSTS = "(settings.SECURE_HSTS_SECONDS, settings.SECURE_HSTS_INCLUDE_SUBDOMAINS, settings.SECURE_HSTS_PRELOAD)"
YEAR = "31536000"


def read(told: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """What a process prints of its settings; its error output ends with the line that a bad setting gives."""
    return subprocess.run(
        [sys.executable, "-c", f"from events_platform import settings; print({told})"],
        cwd=CHECKOUT,
        env={**ENVIRONMENT, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("environ", "sent"),
    [
        ({}, (3600, False, False)),
        ({"PUBLIC_URL": "http://127.0.0.1:8000"}, (0, False, False)),
        ({"HSTS_SECONDS": "0"}, (0, False, False)),
        (
            {"HSTS_SECONDS": YEAR, "HSTS_INCLUDE_SUBDOMAINS": "true", "HSTS_PRELOAD": "true"},
            (int(YEAR), True, True),
        ),
    ],
)
def test_hsts_is_short_until_it_is_raised(environ: dict[str, str], sent: tuple[object, ...]) -> None:
    done = read(HSTS, **environ)
    assert done.stdout == f"{sent}\n", done.stderr


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ({"HSTS_PRELOAD": "true"}, "HSTS_PRELOAD is true: it needs HSTS_INCLUDE_SUBDOMAINS=true and HSTS_SECONDS of"),
        ({"HSTS_PRELOAD": "true", "HSTS_SECONDS": YEAR}, "HSTS_PRELOAD is true"),
        ({"HSTS_PRELOAD": "true", "HSTS_INCLUDE_SUBDOMAINS": "true"}, "HSTS_PRELOAD is true"),
        ({"HSTS_SECONDS": "1e9"}, "HSTS_SECONDS"),
        ({"EMAIL_URL": "console:"}, "links of mails would go into the logs"),
        ({"EMAIL_URL": "console:", "EMAIL_TO_LOG": "perhaps"}, "EMAIL_TO_LOG"),
        ({"WEBHOOK_CA_FILE": "/dev/null/ca.pem"}, "/dev/null/ca.pem cannot be read (Not a directory)"),
        ({"WEBHOOK_CA_FILE": __file__}, "contains no certificate of an authority in PEM format"),
        ({"SECRET_KEY_FALLBACKS": f"{KEY},short"}, "SECRET_KEY_FALLBACKS"),
        ({"SECRET_KEY_FALLBACKS": f"change-me-{KEY}"}, "SECRET_KEY_FALLBACKS still holds the placeholder"),
    ],
)
def test_a_bad_setting_stops_the_start_and_is_named(environ: dict[str, str], complaint: str) -> None:
    done = read("1", **environ)
    assert done.returncode != 0
    assert complaint in done.stderr.splitlines()[-1]
    assert KEY not in done.stderr


def test_a_worker_has_as_many_processes_as_the_setting_says_and_a_sender_one() -> None:
    assert "--concurrency" not in programs.worker({}).command
    done = read(PROCESSES, WORKER_CONCURRENCY="3")
    assert done.stdout == "3\n", done.stderr
    sender = programs.sender({}).command
    assert sender[sender.index("--concurrency") + 1] == "1"


def test_beat_keeps_no_file_that_others_could_write() -> None:
    """Celery's own scheduler unpickles what it finds in one."""
    assert not issubclass(symbol_by_name(app.conf.beat_scheduler), PersistentScheduler)
    assert not {"-s", "--schedule", "-S", "--scheduler"} & set(programs.beat({}).command)
