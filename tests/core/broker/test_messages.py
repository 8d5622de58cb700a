"""What lies in a queue of the broker and is no task of ours is dropped, and the worker goes on."""

import json
import logging
import os
import signal
import subprocess
import sys
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import consumer
from django.conf import settings
from kombu import Connection, Consumer, Queue
from kombu.message import Message

from core.broker import messages
from core.broker.consumer import Consumer as Worker
from core.broker.messages import MOST_BYTES, WAIT_SECONDS, DroppedMessages
from core.broker.wakeup import hint
from core.broker.watchdog import messages_waiting
from events_platform.celery import app
from installation.local.data_dir import CHECKOUT
from tests.support.celery_process import celery_process
from tests.support.rabbitmq import running_rabbitmq
from tests.support.servers import test_database_url
from tests.support.waiting import wait_until

QUEUE = "junk-of-this-test"
HEADERS = {"task": "ingestion.retry_failed", "id": "0190", "retries": 0}
NOTHING: list[Any] = [[], {}, {"callbacks": None, "chord": None}]
MAIL = {**HEADERS, "task": "delivery.mail_notice"}
MAIL_BODY: list[Any] = [[], {"event_id": "1"}, {}]


class Taken:
    """What a worker passes on, and what it refuses."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.refused: list[str] = []

    def basic_reject(self, tag: str, *, requeue: bool) -> None:
        assert not requeue
        self.refused.append(tag)


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
def take(taken: Taken, monkeypatch: pytest.MonkeyPatch) -> Callable[[Message], None]:
    """A worker's way to take a message, without a worker."""
    app.loader.import_default_modules()
    worker = Worker.__new__(Worker)
    worker.app, worker.connection_errors, worker.channel_errors = app, (ConnectionError,), ()
    monkeypatch.setattr(consumer.Consumer, "create_task_handler", lambda _: taken.messages.append)
    handler: Callable[[Message], None] = worker.create_task_handler()
    return handler


def message(taken: Taken, headers: Any, body: Any, **kind: Any) -> Message:
    content: Any = body if isinstance(body, bytes) else json.dumps(body).encode()
    channel: Any = SimpleNamespace(basic_reject=taken.basic_reject, no_ack_consumers=None)
    kind = {"content_type": "application/json", "content_encoding": "utf-8", **kind}
    return Message(content, delivery_tag="tag", headers=headers, channel=channel, accept={"application/json"}, **kind)


FOREIGN: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "no headers": (None, NOTHING, {}),
    "no task": ({"id": "0190"}, NOTHING, {}),
    "a task that is a list": ({**HEADERS, "task": ["ingestion.retry_failed"]}, NOTHING, {}),
    "an unknown task": ({**HEADERS, "task": "os.system"}, NOTHING, {}),
    "a task of celery's own": ({**HEADERS, "task": "celery.map"}, NOTHING, {}),
    "no id": ({"task": HEADERS["task"]}, NOTHING, {}),
    "an id of another kind": ({**HEADERS, "id": {"a": 1}}, NOTHING, {}),
    "a long id": ({**HEADERS, "id": "x" * 1000}, NOTHING, {}),
    "retries of another kind": ({**HEADERS, "retries": "many"}, NOTHING, {}),
    "too many retries": ({**HEADERS, "retries": 10**9}, NOTHING, {}),
    "a wait of another kind": ({**HEADERS, WAIT_SECONDS: "soon"}, NOTHING, {}),
    "a wait without end": ({**HEADERS, WAIT_SECONDS: float("inf")}, NOTHING, {}),
    "a wait that is no number": ({**HEADERS, WAIT_SECONDS: float("nan")}, NOTHING, {}),
    "no body": (HEADERS, b"", {}),
    "binary": (HEADERS, b"\xff\x00\xfe", {}),
    "no JSON": (HEADERS, b"{", {}),
    "deep JSON": (HEADERS, b"[" * 100_000, {}),
    "a type of kombu's that is none": (HEADERS, [[], {"a": {"__type__": "uuid", "__value__": 1}}, {}], {}),
    "a body of another form": (HEADERS, {"args": []}, {}),
    "an old body": ({}, {"task": "ingestion.retry_failed", "id": "1", "args": [], "kwargs": {}}, {}),
    "arguments that it does not have": (HEADERS, [[], {"rm": "-rf"}, {}], {}),
    "arguments by place": (MAIL, [["1"], {}, {}], {}),
    "missing arguments": (MAIL, NOTHING, {}),
    "a list of named arguments": (HEADERS, [[], [1], {}], {}),
    "a follow-up": (HEADERS, [[], {}, {"callbacks": [{"task": "delivery.send_due"}]}], {}),
    "a follow-up of another kind": (HEADERS, [[], {}, "x"], {}),
    "too long": (MAIL, [[], {"event_id": "x" * MOST_BYTES}, {}], {}),
    "pickle": (HEADERS, b"cos\nsystem\n(S'true'\ntR.", {"content_type": "application/x-python-serialize"}),
    "another encoding": (HEADERS, NOTHING, {"content_encoding": "utf-7"}),
    "no content type": (HEADERS, NOTHING, {"content_type": None}),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_task_of_ours_is_dropped(name: str, taken: Taken, take: Callable[[Message], None]) -> None:
    headers, body, kind = FOREIGN[name]
    take(message(taken, headers, body, **kind))
    assert (taken.messages, taken.refused) == ([], ["tag"])


def test_a_task_of_ours_is_taken_without_what_we_do_not_send(taken: Taken, take: Callable[[Message], None]) -> None:
    """Neither its limits of time nor what would follow it is a message's to say."""
    more = {"timelimit": [1e9, 1e9], "expires": "never", "shadow": "x", "chord": {}, "group": "g", "eta": "then"}
    take(message(taken, {**MAIL, "retries": 2, **more, **hint(seconds=1)["headers"]}, MAIL_BODY))
    (only,) = taken.messages
    assert only.headers == {
        "lang": "py",
        "task": "delivery.mail_notice",
        "id": "0190",
        "root_id": "0190",
        "ignore_result": True,
        "retries": 2,
        **hint(seconds=1)["headers"],
    }
    assert taken.refused == []


@pytest.mark.parametrize("error", [ConnectionError, ValueError])
def test_only_a_lost_connection_ends_the_loop(
    taken: Taken, take: Callable[[Message], None], error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Message) -> None:
        raise error

    monkeypatch.setattr(consumer.Consumer, "create_task_handler", lambda _: fail)
    worker = Worker.__new__(Worker)
    worker.app, worker.connection_errors, worker.channel_errors = app, (ConnectionError,), ()
    handler = worker.create_task_handler()
    if error is ConnectionError:
        with pytest.raises(ConnectionError):
            handler(message(taken, HEADERS, NOTHING))
    else:
        handler(message(taken, HEADERS, NOTHING))
        assert taken.refused == ["tag"]


def test_what_is_compressed_is_not_inflated(taken: Taken) -> None:
    made = message(taken, {**HEADERS, "compression": "gzip"}, zlib.compress(b"x" * 10_000_000))
    assert made.errors
    assert made.body is not None
    assert len(made.body) < 100_000
    Worker.on_decode_error(SimpleNamespace(_drop=lambda *_: taken.refused.append("tag")), made, ValueError())  # type: ignore[arg-type] # all that it needs
    assert taken.refused == ["tag"]


def test_a_flood_of_them_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    dropped = DroppedMessages()
    with caplog.at_level(logging.WARNING, messages.__name__):
        for _ in range(1000):
            dropped.tell("it is no JSON")
    assert [record.getMessage() for record in caplog.records] == [
        "1 messages of the broker were dropped; of the last: it is no JSON"
    ]


# --- In a real queue -----------------------------------------------------------------------------------------


def item(**changed: Any) -> bytes:
    """A message as it lies in Redis, with other members."""
    properties = {
        "delivery_tag": "1",
        "delivery_info": {"exchange": "", "routing_key": QUEUE},
        "body_encoding": "base64",
    }
    made = {
        "body": b64encode(json.dumps(NOTHING).encode()).decode(),
        "headers": HEADERS,
        "properties": properties,
        "content-type": "application/json",
        "content-encoding": "utf-8",
    }
    return json.dumps({**made, **changed}).encode()


BROKEN = {
    "binary": b"\xff\xfe\x00",
    "empty": b"",
    "half": item()[:50],
    "null": b"null",
    "a list": b"[1]",
    "a number of 5000 digits": b"9" * 5000,
    "deep": b"[" * 100_000,
    "a type of kombu's that is none": b'{"__type__": "uuid", "__value__": 1}',
    "no members": b"{}",
    "no properties": item(properties=None),
    "no tag": item(properties={}),
    "a tag that is a list": item(properties={"delivery_tag": [1], "delivery_info": {}, "body_encoding": "base64"}),
    "broken base64": item(body="?"),
    "an unknown coding": item(properties={**json.loads(item())["properties"], "body_encoding": "rot13"}),
    "headers that are none": item(headers=7),
    "another content type": item(**{"content-type": "application/x-python-serialize"}),
    "too long": item(body="A" * (4 * MOST_BYTES)),
}


@pytest.fixture
def broker() -> Iterator[Any]:
    with Connection(settings.CELERY_BROKER_URL, transport_options=settings.CELERY_BROKER_TRANSPORT_OPTIONS) as made:
        channel: Any = made.default_channel
        channel.queue_declare(QUEUE)
        yield made
        with channel.conn_or_acquire() as client:
            client.delete(QUEUE, channel.unacked_key, channel.unacked_index_key, f"_kombu.binding.{QUEUE}")


def put(broker: Any, *items: bytes) -> None:
    with broker.default_channel.conn_or_acquire() as client:
        client.lpush(QUEUE, *items)


def take_one(broker: Any) -> Any:
    found: list[Any] = []
    with Consumer(broker.default_channel, [Queue(QUEUE)], on_message=found.append, auto_declare=False):
        while not found:
            broker.drain_events(timeout=10)
    return found[0]


@pytest.mark.parametrize("name", BROKEN)
def test_what_lies_in_redis_and_is_no_message_is_gone_when_it_is_taken(broker: Any, name: str) -> None:
    put(broker, BROKEN[name], item())
    assert take_one(broker).headers == HEADERS


def test_what_redis_remembers_and_is_no_message_keeps_no_other_from_coming_again(broker: Any) -> None:
    channel: Any = broker.default_channel
    delivery = json.dumps([json.loads(item()), "", QUEUE])
    remembered = {"1": b"\xff", "2": b"[1]", "3": json.dumps([{"a": 1}, "", QUEUE]), "4": b"null", "5": delivery}
    with channel.conn_or_acquire() as client:
        client.hset(channel.unacked_key, mapping=remembered)
        client.zadd(channel.unacked_index_key, dict.fromkeys(remembered, 1.0))
    channel.qos.restore_visible(interval=1)
    assert take_one(broker).headers["redelivered"]
    with channel.conn_or_acquire() as client:
        assert client.hkeys(channel.unacked_key) in ([], [b"1"])  # that of the one that was taken just now


def test_a_table_of_queues_that_was_changed_leads_no_message_astray(broker: Any) -> None:
    with broker.default_channel.conn_or_acquire() as client:
        client.sadd(f"_kombu.binding.{QUEUE}", b"\xff", b"one part", f"{QUEUE}\x06\x16\x06\x16elsewhere")
    app.send_task("ingestion.retry_failed", queue=QUEUE)
    assert take_one(broker).headers["task"] == "ingestion.retry_failed"
    with broker.default_channel.conn_or_acquire() as client:
        assert not client.exists("elsewhere")


def worker(**environ: str) -> AbstractContextManager["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "events_platform", "worker", "--queues", QUEUE]
    alone = ["--concurrency", "1", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    return celery_process([*command, *alone], **environ)


def fill(broker: Any) -> None:
    """With what any client of the broker can send; RabbitMQ itself takes no number that is none."""
    with broker.channel() as channel:
        for headers, body, kind in (row for name, row in FOREIGN.items() if not name.startswith("a wait")):
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            made = channel.prepare_message(
                content,
                content_type=kind.get("content_type", "application/json"),
                content_encoding=kind.get("content_encoding", "utf-8"),
                headers=headers if isinstance(headers, dict) else None,
            )
            channel.basic_publish(made, exchange="", routing_key=QUEUE)


def ends_well(process: "subprocess.Popen[str]", celery: Any) -> None:
    """It takes what comes after all of it, hears no command, and ends when it is told by a signal."""
    celery.control.broadcast("shutdown")
    celery.send_task("ingestion.retry_failed", queue=QUEUE)
    wait_until(lambda: messages_waiting(celery, [QUEUE]) == 0, seconds=60)
    assert celery.control.inspect(timeout=0.5).ping() is None
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert "messages of the broker were dropped" in said
    assert "Traceback" not in said, said
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_worker_outlives_whatever_lies_in_its_queue(broker: Any) -> None:
    put(broker, *BROKEN.values())
    fill(broker)
    with worker(DATABASE_URL=test_database_url()) as process:
        ends_well(process, app)


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_a_worker_outlives_whatever_comes_from_rabbitmq() -> None:
    with running_rabbitmq() as node, app.connection_for_write(node.url) as broker:
        Queue(QUEUE, queue_arguments={"x-queue-type": "quorum"})(broker.default_channel).declare()
        fill(broker)
        done = subprocess.run(
            [sys.executable, "-c", "from tests.core.broker.test_messages import *; in_this_process()"],
            cwd=CHECKOUT,
            env={**os.environ, "CELERY_BROKER_URL": node.url, "DATABASE_URL": test_database_url()},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr


def in_this_process() -> None:
    """With the broker that the environment names."""
    with worker() as process:
        ends_well(process, app)


def test_a_message_waits_by_the_clock_of_the_worker_that_has_it(taken: Taken, take: Callable[[Message], None]) -> None:
    take(message(taken, {**HEADERS, WAIT_SECONDS: 60, "eta": "2001-01-01T00:00:00+00:00"}, NOTHING))
    eta = datetime.fromisoformat(taken.messages[0].headers["eta"])
    assert 0 < (eta - datetime.now(UTC)).total_seconds() <= 60
