"""What tests share: a clean Redis, an API client of one tenant, no left-over caches."""

import json
import os
import subprocess
import sysconfig
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.test import Client, TransactionTestCase
from django_redis import get_redis_connection
from hypothesis import settings as hypothesis_settings

import events_platform.celery  # noqa: F401 - tasks are sent through the app
from installation.local.data_dir import CHECKOUT
from organizations.models import ApiKey, Organization
from tests.factories import make_key, make_organization
from tests.support.memory import forget
from tests.support.postgresql.emptying import empty_tables
from tests.support.rabbitmq import running_rabbitmq

# The hasher of production takes a third of a second for each password, on purpose; servers that tests start keep it.
django_settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Each test client has middleware of its own, and WhiteNoise would read all static files for each of them.
django_settings.WHITENOISE_AUTOREFRESH = True
# The live server's own handler knows no names with a hash; the middleware behind it does.
StaticFilesHandler._should_handle = lambda self, path: False  # type: ignore[method-assign] # noqa: ARG005
TransactionTestCase._fixture_teardown = empty_tables  # type: ignore[attr-defined] # there is no setting for it
# No test depends on how fast the machine is.
hypothesis_settings.register_profile("any-machine", deadline=None)
hypothesis_settings.load_profile("any-machine")


def pytest_xdist_auto_num_workers() -> int:
    """Three for two cores: a third of the tests' time is waiting, for programs that start and for faults that pass."""
    return max(2, (os.cpu_count() or 1) * 3 // 2)


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Mark what needs the database; once the order is chosen at random, let what takes minutes come first.

    At the end all processes would wait for the one that has it.
    """
    for item in items:
        if item.get_closest_marker("django_db") or "db" in getattr(item, "fixturenames", ()):
            item.add_marker("database")
    yield
    items[:] = _deal(items, getattr(config, "workerinput", {}).get("workercount", 1))


def _deal(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Let each worker begin with its share of what takes minutes: `--dist worksteal` cuts the list into even pieces.

    What is injected as a fault stays in one piece, as it shares its platform.
    """
    rest = [item for item in items if not item.get_closest_marker("begin_first")]
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("begin_first"):
            groups.setdefault("faults" if item.get_closest_marker("faults") else item.nodeid, []).append(item)
    dealt: list[pytest.Item] = []
    for number in range(workers):
        share = [item for group in list(groups.values())[number::workers] for item in group]
        size = (len(items) - len(dealt)) // (workers - number)
        others = max(size - len(share), 0)
        dealt += [*share, *rest[:others]]
        del rest[:others]
    return dealt + rest


@pytest.fixture(autouse=True)
def _fresh_caches() -> Iterator[None]:
    forget()
    get_redis_connection("default").flushdb()
    yield
    forget()


@dataclass
class Tenant:
    """An organization with a key, and the requests it can make."""

    organization: Organization
    key: ApiKey
    plaintext: str
    client: Client

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        content = {} if body is None else {"data": body, "content_type": "application/json"}
        headers.setdefault("Authorization", f"Bearer {self.plaintext}")
        return self.client.generic(method, path, headers=headers, **_encoded(content))

    def get(self, path: str, **headers: str) -> Any:
        return self.request("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.request("POST", path, body, **headers)


def _encoded(content: dict[str, Any]) -> dict[str, Any]:
    data = content.get("data")
    if data is not None and not isinstance(data, bytes):
        content["data"] = json.dumps(data)
    return content


def make_tenant(**values: Any) -> Tenant:
    organization = make_organization()
    key, plaintext = make_key(organization, **values)
    return Tenant(organization, key, plaintext, Client(raise_request_exception=False))


@pytest.fixture
def tenant(db: None) -> Tenant:
    return make_tenant()


@pytest.fixture
def other_tenant(db: None) -> Tenant:
    return make_tenant()


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """What processes that a test starts need in their environment to use this broker."""
    if request.param == "redis":
        yield {}
        return
    with running_rabbitmq() as node:
        yield {"CELERY_BROKER_URL": node.url}


@pytest.fixture(scope="session")
def postgresql_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with pg_dump, pg_restore and psql as the image has them."""
    prefix = tmp_path_factory.mktemp("image")
    script = CHECKOUT / "deploy/postgresql-programs.sh"
    subprocess.run(["sh", script, sysconfig.get_path("purelib"), prefix], check=True)
    return prefix / "lib/postgresql/18/bin"
