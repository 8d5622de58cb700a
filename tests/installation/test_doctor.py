"""`manage.py doctor` finds each planted mistake of an installation, and nothing else.

The proxy, the mail server, the command and the page: test_doctor_outside. All processes, and all well: test_up.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone
from msgspec import json
from redis import Redis
from uuid_utils.compat import uuid7

from core.event_ids import lowest_id
from core.partitions.weeks import WEEK, week_of
from core.secrets import encrypt_secret
from core.version import VERSION
from delivery.models import Attempt, Delivery, DeliveryStatus, Subscription, SubscriptionKind
from events_platform.celery import app
from ingestion.models import OutboxEntry
from installation.doctor import postgresql, redis_and_broker
from installation.doctor.data import tables_without
from observability import signs_of_life
from observability.signs_of_life import KEY, Sign
from organizations.models import Organization
from tests.factories import make_organization
from tests.support.doctor_patient import GOOD, HOST, Trouble, is_fast, look, trouble, valkey
from tests.support.rabbitmq import running_rabbitmq
from tests.support.servers import free_port

pytestmark = pytest.mark.slow

Plant = Callable[[Any], object]


@pytest.fixture
def patient(settings: Any, db: None) -> Any:
    """Well, with an organization and a superuser."""
    for name, value in GOOD.items():
        setattr(settings, name, value)
    make_organization()
    User.objects.create_superuser("sam")
    return settings


# --- Settings ---------------------------------------------------------------------------------------------------------

SETTINGS = [
    ("public_url", "problem", {"PUBLIC_URL": f"http://{HOST}", "HTTPS": False}),
    ("public_url", "warning", {"PUBLIC_URL": "http://10.0.0.5", "HTTPS": False, "ALLOWED_HOSTS": ["10.0.0.5"]}),
    ("allowed_hosts", "problem", {"ALLOWED_HOSTS": ["127.0.0.1"]}),
    ("allowed_hosts", "problem", {"ALLOWED_HOSTS": ["*"]}),
    ("debug", "problem", {"DEBUG": True}),
    ("secret_key", "problem", {"SECRET_KEY": "secret" * 9}),
    ("secret_key", "problem", {"SECRET_KEY": "django-insecure-4jf93kf0wq8vmz2lx7pb1"}),
    ("encryption_keys", "warning", {"FIELD_ENCRYPTION_KEYS": []}),
    ("trusted_proxies", "problem", {"TRUSTED_PROXIES": 0}),
    ("hsts", "warning", {"SECURE_HSTS_SECONDS": 0}),
    ("staff_second_factor", "warning", {"REQUIRE_STAFF_MFA": False}),
    ("webhook_http", "warning", {"WEBHOOK_ALLOW_HTTP": True}),
    ("webhook_networks", "warning", {"WEBHOOK_ALLOWED_NETWORKS": [ip_network("10.0.0.0/8")]}),
]


@pytest.mark.parametrize(("name", "status", "planted"), SETTINGS)
def test_a_setting(patient: Any, name: str, status: str, planted: dict[str, Any]) -> None:
    for setting, value in planted.items():
        setattr(patient, setting, value)
    assert trouble("settings") == {(name, status)}


def test_a_secret_that_everybody_can_read(patient: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    file = folder / "secret_key"
    file.write_text("x")
    file.chmod(0o644)
    monkeypatch.setenv("SECRET_KEY_FILE", str(file))
    try:
        assert trouble("settings") == set(), "nobody else gets into the folder"
        folder.chmod(0o755)
        assert trouble("settings") == {("secret_files", "problem")}
        file.chmod(0o640)
        assert trouble("settings") == set()
    finally:
        shutil.rmtree(folder)


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


@contextmanager
def connected(**values: str) -> Iterator[None]:
    """The checks as another role, or to another database."""
    kept = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict.update(values)
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(kept)


def execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture
def visitor(transactional_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A role that may connect; to the checks the server is not the embedded one."""
    monkeypatch.setenv("EVENTS_DATA_DIR", "/nonexistent")
    execute("CREATE ROLE doctor_visitor LOGIN")
    yield "doctor_visitor"
    execute("DROP OWNED BY doctor_visitor", "DROP ROLE doctor_visitor")


def test_roles_that_may_too_much_or_too_little(visitor: str) -> None:
    assert trouble("postgresql") == {("postgresql_role", "warning")}, "a superuser"
    with connected(USER=visitor):
        assert trouble("postgresql") == {("postgresql_role", "problem"), ("postgresql_ownership", "problem")}
    execute(f"GRANT CREATE ON SCHEMA public TO {visitor}")
    with connected(USER=visitor):
        assert trouble("postgresql") == {("postgresql_ownership", "problem")}, "as after a restore by another role"
        assert "belong to postgres" in look("postgresql")["postgresql_ownership"].what


def test_a_database_that_does_not_hold_utf_8(transactional_db: None) -> None:
    execute("CREATE DATABASE doctor_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        with connected(NAME="doctor_ascii"):
            assert trouble("postgresql") == {("postgresql_encoding", "problem")}
    finally:
        execute("DROP DATABASE doctor_ascii WITH (FORCE)")


def test_commits_that_a_crash_loses(patient: Any) -> None:
    if is_fast():
        assert look("postgresql")["postgresql_durability"].what.startswith("fsync and full_page_writes are off")
    execute("SET LOCAL synchronous_commit = off")
    outcome = look("postgresql")["postgresql_durability"]
    assert outcome.status.value == "problem"
    assert "synchronous_commit" in outcome.what.partition(":")[0]


def test_postgresql_that_is_away(transactional_db: None) -> None:
    with connected(HOST="127.0.0.1", PORT=str(free_port())):
        found = look("postgresql", "data")
    assert found.pop("postgresql").status.value == "problem"
    assert {outcome.status.value for outcome in found.values()} == {"skipped"}


def test_a_version_that_is_too_old(patient: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "OLDEST", 99)
    assert trouble("postgresql") == {("postgresql_version", "problem")}


def test_more_connections_than_postgresql_takes(patient: Any) -> None:
    leave_signs(sign("web", connections=900))
    assert trouble("postgresql") == {("postgresql_connections", "warning")}


@pytest.mark.parametrize(("seconds", "status"), [(1, None), (10, "warning"), (90, "problem")])
def test_a_clock_that_is_wrong(patient: Any, monkeypatch: pytest.MonkeyPatch, seconds: int, status: str | None) -> None:
    wrong = SimpleNamespace(time=lambda: datetime.now(UTC).timestamp() + seconds)
    for module, part in ((postgresql, "postgresql"), (redis_and_broker, "redis")):
        monkeypatch.setattr(module, "time", wrong)
        assert trouble(part) == ({(f"clock_{part}", status)} if status else set())


# --- Data -------------------------------------------------------------------------------------------------------------


def forget_a_migration(settings: Any) -> None:
    MigrationRecorder(connection).record_unapplied("console", "0002_exports")


def come_from_the_future(settings: Any) -> None:
    MigrationRecorder(connection).record_applied("ingestion", "0999_to_come")


def lose_a_partition(settings: Any) -> None:
    execute(f"DROP TABLE delivery_attempt_{week_of(timezone.now()) + WEEK:%Y%m%d}")
    next_week = week_of(timezone.now()) + WEEK
    assert tables_without([next_week]) == {next_week: ["delivery_attempt"]}


def write_beyond_the_partitions(settings: Any) -> None:
    far = lowest_id(datetime(2090, 1, 2, tzinfo=UTC))
    Attempt.objects.create(id=far, organization_id=uuid7(), subscription_id=uuid7(), delivery_id=uuid7(), number=1,
                           started_at=timezone.now(), duration_ms=1)  # fmt: skip


def lose_a_key(settings: Any) -> None:
    keep_a_secret()
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]


def put_a_key_in_front(settings: Any) -> None:
    keep_a_secret()
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode(), *settings.FIELD_ENCRYPTION_KEYS]


def keep_a_secret() -> Subscription:
    return Subscription.objects.create(
        organization=Organization.objects.get(),
        kind=SubscriptionKind.WEBHOOK,
        name="Billing",
        url="https://example.com/",
        secret=encrypt_secret("whsec_x"),
    )


def process_nothing(settings: Any) -> None:
    OutboxEntry.objects.create(id=uuid7(), event_ids=[], created_at=timezone.now() - timedelta(minutes=5))


def send_nothing(settings: Any) -> None:
    webhook, now = keep_a_secret(), timezone.now()
    Delivery.objects.create(id=uuid7(), organization_id=webhook.organization_id, subscription=webhook,
                            event_id=uuid7(), status=DeliveryStatus.PENDING, created_at=now,
                            next_attempt_at=now - timedelta(minutes=5))  # fmt: skip


DATA: list[tuple[str, str, Plant]] = [
    ("migrations", "problem", forget_a_migration),
    ("newer_migrations", "warning", come_from_the_future),
    ("partitions", "problem", lose_a_partition),
    ("default_partitions", "warning", write_beyond_the_partitions),
    ("stored_secrets", "problem", lose_a_key),
    ("stored_secrets", "warning", put_a_key_in_front),
    ("processing", "problem", process_nothing),
    ("sending", "warning", send_nothing),
    ("organizations", "warning", lambda _: Organization.objects.all().delete()),
    ("superusers", "warning", lambda _: User.objects.update(is_active=False)),
    ("user_names", "warning", lambda _: User.objects.create(username="..")),
]


@pytest.mark.parametrize(("name", "status", "plant"), DATA)
def test_data(patient: Any, name: str, status: str, plant: Plant) -> None:
    plant(patient)
    assert trouble("data") == {(name, status)}


# --- Redis and broker -------------------------------------------------------------------------------------------------


def test_redis_that_throws_away_is_open_and_full(patient: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with valkey(tmp_path) as port, Redis(port=port) as client:
        patient.REDIS_URL = patient.CELERY_BROKER_URL = f"redis://127.0.0.1:{port}/0"
        open_port = {("redis_password", "warning")}
        assert trouble("redis") == open_port
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert trouble("redis") == open_port | {("redis_policy", "problem")}
        client.config_set("maxmemory-policy", "volatile-ttl")
        assert trouble("redis") == open_port | {("redis_policy", "warning")}
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.02))
        assert trouble("redis") == open_port | {("redis_memory", "warning")}
        client.config_set("maxmemory", 0)
        client.config_set("requirepass", "hunter2-hunter2")
        monkeypatch.setattr(app.conf, "broker_write_url", f"redis://:wrong@127.0.0.1:{port}/0")
        patient.REDIS_URL = f"redis://:wrong@127.0.0.1:{port}/0"
        found = look("redis")
        assert found["redis"].what.startswith("Redis refuses the password")
        assert found["broker"].what.startswith("The broker (Redis) refuses")
        assert "wrong" not in str(found)


def test_redis_of_another_host_without_a_password(patient: Any) -> None:
    patient.CELERY_BROKER_URL = "redis://redis.example.com/1"
    assert look("redis")["redis_password"].status.value == "problem"


def test_redis_and_broker_that_are_away(patient: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"redis://:pass@127.0.0.1:{free_port()}/0"
    patient.REDIS_URL = patient.CELERY_BROKER_URL = url
    monkeypatch.setattr(app.conf, "broker_write_url", url)
    assert trouble("redis") == {("redis", "problem"), ("broker", "problem")}


@pytest.mark.faults
def test_rabbitmq_that_refuses_the_password(patient: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_rabbitmq() as node:
        patient.CELERY_BROKER_URL = wrong = node.url.replace(":guest@", ":hunter2@")
        monkeypatch.setattr(app.conf, "broker_write_url", node.url)
        assert trouble("redis") == set()
        monkeypatch.setattr(app.conf, "broker_write_url", wrong)
        assert trouble("redis") == {("broker", "problem")}
        assert look("redis")["broker"].what.startswith("The broker (RabbitMQ) refuses")


# --- Processes --------------------------------------------------------------------------------------------------------


def sign(role: str, **values: Any) -> Sign:
    now = timezone.now().timestamp()
    known = Sign(role=role, host="elsewhere", pid=7, space="", version=VERSION, revision="unknown", connections=4,
                 clock=now, written_at=now)  # fmt: skip
    return replace(known, **values)


def leave_signs(*signs: Sign) -> None:
    """As processes of other hosts do."""
    redis = signs_of_life.redis_client()
    for number, each in enumerate(signs):
        redis.hset(KEY, str(number), json.encode(each))
    redis.set("beat:heartbeat", int(timezone.now().timestamp()))


ALIVE = [sign(role) for role in ("web", "worker", "sender", "beat")]
NOW = ALIVE[0].written_at
PROCESSES: list[tuple[Trouble, list[Sign]]] = [
    (set(), ALIVE),
    ({("worker", "problem")}, [each for each in ALIVE if each.role != "worker"]),
    ({("sender", "problem")}, [each for each in ALIVE if each.role != "sender"]),
    ({("beat", "problem")}, ALIVE[:3]),
    ({("beat", "problem")}, [*ALIVE, sign("beat", pid=8)]),
    ({("web", "problem")}, ALIVE[1:]),
    ({("process_versions", "warning")}, [*ALIVE, sign("web", version="0.0.9")]),
    ({("process_clocks", "problem")}, [*ALIVE, sign("web", clock=NOW - 60)]),
    (set(), [*ALIVE, sign("beat", written_at=NOW - 60)]),
]


@pytest.mark.parametrize(("expected", "signs"), PROCESSES)
def test_processes(patient: Any, expected: Trouble, signs: list[Sign]) -> None:
    moved = timezone.now().timestamp() - NOW
    leave_signs(*(replace(each, clock=each.clock + moved, written_at=each.written_at + moved) for each in signs))
    assert trouble("processes") == expected


def test_beat_that_lives_and_hands_nothing_out(patient: Any) -> None:
    leave_signs(*(sign(each.role) for each in ALIVE))
    signs_of_life.redis_client().set("beat:heartbeat", int(timezone.now().timestamp()) - 90)
    assert trouble("processes") == {("beat", "problem")}
