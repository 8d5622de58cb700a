"""An installation that is well, as the settings of the test's process say it, and what the doctor finds of it."""

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from django.conf import settings
from django.db import connection
from redis import Redis
from redis.exceptions import RedisError

from events_platform.up.valkey import binary
from installation.doctor.checks import Visit
from installation.doctor.examining import ALL, run_in_order
from installation.doctor.findings import CheckOutcome, Finding, Status
from tests.support.servers import free_port
from tests.support.waiting import wait_until

HOST = "events.example.com"
GOOD: dict[str, Any] = {
    "DEBUG": False,
    "PUBLIC_URL": f"https://{HOST}",
    "HTTPS": True,
    "ALLOWED_HOSTS": [HOST, "127.0.0.1"],
    "SECRET_KEY": "kq2Fz8-Vw1_hRt7LyPb4JmXc9NsGd3eU6oTaQiBxEv5ZrWu0",
    "FIELD_ENCRYPTION_KEYS": [Fernet.generate_key().decode()],
    "TRUSTED_PROXIES": 1,
    "REQUIRE_STAFF_MFA": True,
    "SECURE_HSTS_SECONDS": 3600,
    "WEBHOOK_ALLOW_HTTP": False,
    "WEBHOOK_ALLOWED_NETWORKS": [],
}
Trouble = set[tuple[str, str]]


def look(*parts: str, visit: Visit | None = None) -> dict[str, CheckOutcome]:
    """In the test's own thread and transaction, so that what it has planted is seen."""
    visit = visit or Visit()
    return run_in_order([check for check in ALL if check.part in parts], lambda check: check.run(visit))


def trouble(*parts: str, visit: Visit | None = None) -> Trouble:
    """Name and status of whatever is not good, without what no test can help: how PostgreSQL was started."""
    found = {
        (name, outcome.status.value)
        for name, outcome in look(*parts, visit=visit).items()
        if outcome.status in (Status.WARNING, Status.PROBLEM)
    }
    return found - ({("postgresql_durability", "problem")} if "postgresql" in parts and is_fast() else set())


def is_fast() -> bool:
    """The embedded server of a test run does not wait for the disk."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('fsync')")
        return bool(cursor.fetchone()[0] == "off")


def bad(findings: Iterable[Finding]) -> Trouble:
    return {(each.name, each.status.value) for each in findings if each.remedy}


@contextmanager
def valkey(folder: Path, *options: str) -> Iterator[int]:
    """A second Valkey on loopback; yields its port."""
    port = free_port()
    command = [str(binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: _listens(port), seconds=20)
        yield port
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    try:
        with Redis(port=port, socket_timeout=2) as client:
            client.ping()
    except RedisError as error:
        return "Authentication" in str(error) or "NOAUTH" in str(error)
    return True


def use_redis(url: str) -> None:
    """For the checks; the caches and the broker's app of this process stay where they are."""
    settings.REDIS_URL = settings.CELERY_BROKER_URL = url
