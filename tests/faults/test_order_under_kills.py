"""Order by key, while web processes, workers and senders are killed and a tenth of all requests fails."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import NamedTuple

import psutil
import pytest
from django.db import connections
from uuid_utils.compat import uuid7

from delivery.models import Delivery, KeyQueueMember
from installation.local.data_dir import CHECKOUT
from tests.factories import make_key, make_organization
from tests.faults.ordered_load import in_background, receiving, send_all
from tests.support.celery_process import ENVIRONMENT
from tests.support.events.delivering import webhook
from tests.support.servers import Server, serve, test_database_url
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


class Celery:
    """A worker process, which is begun anew as often as it is killed; the first of them has beat inside."""

    def __init__(self, queue: str, *, beats: bool = False) -> None:
        options = ["--concurrency=1", "--without-gossip", "--without-mingle", "--loglevel=WARNING"]
        self._command = [sys.executable, "-m", "celery", "-A", "events_platform", "--quiet", "worker"]
        self._command += [f"--queues={queue}", f"--hostname={uuid7()}@%h", *options]
        if beats:
            self._command += ["-B", "-s", f"{os.environ['EVENTS_DATA_DIR']}/beat-{uuid7()}"]
        self.start()

    def start(self) -> None:
        environment = {**os.environ, **ENVIRONMENT, "DATABASE_URL": test_database_url()}
        self._process = subprocess.Popen(self._command, cwd=CHECKOUT, env=environment, start_new_session=True)

    def stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def kill(self) -> None:
        self.stop()
        self.start()


@contextmanager
def celery(queue: str, *, beats: bool = False) -> Iterator[Celery]:
    running = Celery(queue, beats=beats)
    try:
        yield running
    finally:
        running.stop()


def kill_web_process(server: Server) -> None:
    """One of them, which its master replaces."""
    random.choice(psutil.Process(server.process.pid).children()).kill()


class Size(NamedTuple):
    """How many of each; every process is killed `kills` times."""

    keys: int
    events: int
    clients: int
    workers: int
    senders: int
    kills: int
    seconds: int


SMALL = Size(keys=10, events=20, clients=5, workers=1, senders=1, kills=1, seconds=180)
LARGE = Size(keys=200, events=500, clients=50, workers=2, senders=3, kills=2, seconds=1_800)


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(SMALL, id="small", marks=[pytest.mark.faults, pytest.mark.begin_first]),
        pytest.param(LARGE, id="large", marks=pytest.mark.long),
    ],
)
def test_each_key_arrives_in_order_whatever_is_killed(
    size: Size, record_property: Callable[[str, object], None]
) -> None:
    organization = make_organization(plan="enterprise")
    _, key = make_key(organization)
    with ExitStack() as stack:
        loop = stack.enter_context(in_background())
        receiver = stack.enter_context(receiving(loop))
        webhook(organization, receiver.url, order_by="subject", has_queues=True)
        server = stack.enter_context(serve(workers=2))
        kinds = [*["events"] * size.workers, *["deliveries"] * size.senders]
        running = [stack.enter_context(celery(queue, beats=not number)) for number, queue in enumerate(kinds)]
        kill_web = partial(kill_web_process, server)
        kills: list[Callable[[], None]] = [kill_web, kill_web, *(process.kill for process in running)] * size.kills
        sending = asyncio.run_coroutine_threadsafe(
            send_all(server.base_url, key, keys=size.keys, events=size.events, clients=size.clients), loop
        )
        for number, kill in enumerate(kills, 1):
            share = size.keys * size.events * number // (len(kills) + 1)
            wait_until(partial(receiver.has_got, share), seconds=size.seconds)
            kill()
        sending.result(size.seconds)
        wait_until(lambda: receiver.has_all(size.keys, size.events), seconds=size.seconds)
        all_delivered = Delivery.objects.filter(status="delivered")
        wait_until(lambda: all_delivered.count() == size.keys * size.events, seconds=size.seconds)
    assert receiver.wrong == []
    assert not KeyQueueMember.objects.exists()
    for name in ("requests", "failed", "repeated"):
        record_property(name, getattr(receiver, name))
    connections.close_all()
