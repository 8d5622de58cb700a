"""RabbitMQ as the broker. test_crash and test_delivery_faults run over it, too, as they do over Redis."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack

import pytest
from django.db import connections

from tests.factories import make_key, make_organization
from tests.support.celery_process import workers
from tests.support.events.delivering import SECRET, delivered, received, store_events, webhook
from tests.support.http.receiver import receiver_process
from tests.support.rabbitmq import running_rabbitmq
from tests.support.servers import Server, serve
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

SECONDS = 120


def post_event(server: Server, key: str, number: int) -> str:
    request = urllib.request.Request(
        f"{server.base_url}/api/v1/events",
        data=json.dumps({"type": "order.paid", "data": {"number": number}}).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 202
        pk: str = json.load(answer)["id"]
        return pk


def broker_part(server: Server) -> str:
    try:
        with urllib.request.urlopen(f"{server.base_url}/health/status", timeout=20) as answer:
            body = json.load(answer)
    except urllib.error.HTTPError as error:
        body = json.load(error)
    state: str = body["parts"]["broker"]["state"]
    return state


@pytest.mark.faults
@pytest.mark.django_db(transaction=True)
def test_a_broker_that_dies_costs_no_event() -> None:
    """Requests go on without it, and what they brought is delivered when it is back."""
    organization = make_organization(plan="enterprise")
    _, key = make_key(organization)
    with ExitStack() as stack:
        node = stack.enter_context(running_rabbitmq())
        address = stack.enter_context(receiver_process(SECRET, keep=True))
        webhook(organization, f"{address}/ok")
        server = stack.enter_context(serve(workers=1, CELERY_BROKER_URL=node.url))
        stack.enter_context(workers(CELERY_BROKER_URL=node.url))
        ids = {post_event(server, key, number) for number in range(50)}
        wait_until(lambda: delivered(organization) == 50, seconds=SECONDS)
        wait_until(lambda: broker_part(server) == "ok")
        node.kill()
        wait_until(lambda: broker_part(server) == "failing")
        ids |= {post_event(server, key, number) for number in range(50, 100)}
        node.start()
        # Of these the broker is never told: beat, whose connection broke in the middle of a message, must sweep.
        ids |= store_events(organization, 100)
        wait_until(lambda: delivered(organization) == 200, seconds=SECONDS)
        arrived = received(address)
    assert sorted(arrived) == sorted(ids)  # each exactly once
    connections.close_all()


@pytest.mark.faults
def test_rabbitmq_drops_old_hints_and_keeps_mails() -> None:
    """By its own clock: the queue is a quorum queue, and no worker looks at it."""
    with running_rabbitmq() as node:
        told = subprocess.run(
            [sys.executable, "-c", _LET_WAIT],
            env={**os.environ, "CELERY_BROKER_URL": node.url},
            capture_output=True,
            text=True,
            check=True,
        )
    assert told.stdout.split() == ["2", "1"]


_LET_WAIT = """
from events_platform.celery import app
from core.broker.watchdog import messages_waiting
from core.broker.wakeup import hint
from tests.support.waiting import wait_until
app.send_task("delivery.mail_notice", kwargs={"event_id": "1"})
app.send_task("ingestion.process_outbox", **hint(seconds=60))
wait_until(lambda: messages_waiting(app, ["events"]) == 2)
print(2)
app.control.purge()
app.send_task("ingestion.process_outbox", **hint(seconds=0.5))
app.send_task("delivery.mail_notice", kwargs={"event_id": "1"})
wait_until(lambda: messages_waiting(app, ["events"]) == 1)
print(1)
"""


def test_the_queues_are_quorum_queues() -> None:
    told = subprocess.run(
        [sys.executable, "-c", _TELL_QUEUES],
        env={**os.environ, "CELERY_BROKER_URL": "amqp://guest:guest@127.0.0.1:1//"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(told.stdout) == {
        "events": {"x-queue-type": "quorum"},
        "deliveries": {"x-queue-type": "quorum"},
        "confirms": True,
    }


_TELL_QUEUES = """
import json
from events_platform.celery import app
queues = app.amqp.queues
told = {name: queues[name].queue_arguments for name in ("events", "deliveries")}
print(json.dumps({**told, "confirms": app.conf.broker_transport_options["confirm_publish"]}))
"""
