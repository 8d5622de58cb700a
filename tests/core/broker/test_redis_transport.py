"""Celery's messages through a real Redis: what faults must not do to a worker."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from kombu import Connection, Consumer, Producer, Queue
from kombu.asynchronous import Hub
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from core.broker.redis_transport import Channel, QoS, Transport
from core.broker.wakeup import hint
from events_platform.celery import app

QUEUE = "of-this-test"


@pytest.fixture
def broker() -> Iterator[Connection]:
    with Connection(settings.CELERY_BROKER_URL, transport_options=settings.CELERY_BROKER_TRANSPORT_OPTIONS) as made:
        channel: Any = made.default_channel
        channel.queue_declare(QUEUE)
        yield made
        _forget(made.default_channel)


def _forget(channel: Any) -> None:
    with channel.conn_or_acquire() as client:
        client.delete(QUEUE, channel.unacked_key, channel.unacked_index_key)


@pytest.fixture
def channel(broker: Connection) -> Any:
    return broker.default_channel


def send(channel: Any, count: int, **options: Any) -> None:
    for _ in range(count):
        Producer(channel).publish({}, routing_key=QUEUE, serializer="json", **options)


def take(broker: Connection, count: int) -> list[Any]:
    """As a worker does that has `count` places."""
    messages: list[Any] = []
    with Consumer(
        broker.default_channel, [Queue(QUEUE)], on_message=messages.append, prefetch_count=count, auto_declare=False
    ):
        while len(messages) < count:
            broker.drain_events(timeout=10)
    return messages


def fail(*_: Any, **__: Any) -> None:
    raise RedisConnectionError("away")


def remembered(channel: Any) -> int:
    """Messages that Redis gives out again when nobody acknowledges them."""
    with channel.conn_or_acquire() as client:
        return int(client.hlen(channel.unacked_key))


@pytest.mark.parametrize("options", [{}, hint(seconds=60)], ids=["message", "hint"])
@pytest.mark.parametrize("what", ["ack", "reject", "requeue"])
def test_a_failed_ack_gives_its_place_back(
    broker: Connection, channel: Any, monkeypatch: pytest.MonkeyPatch, what: str, options: dict[str, Any]
) -> None:
    send(channel, 2, **options)
    messages = take(broker, 2)
    assert not channel.qos.can_consume()
    monkeypatch.setattr(QoS, "_remove_from_indices", fail)
    monkeypatch.setattr(QoS, "restore_by_tag", fail)
    for message in messages:
        try:
            getattr(message, what)()
        except RedisConnectionError:
            assert not options  # a hint needs no answer from Redis
    assert channel.qos.can_consume()
    assert channel.qos.can_consume_max_estimate() == 2


def test_hints_are_dropped_while_enough_wait(channel: Any) -> None:
    send(channel, 5, **hint(seconds=60, most_waiting=3))
    assert channel.queue_declare(QUEUE, passive=True).message_count == 3
    send(channel, 5)
    send(channel, 5, **hint(seconds=60, most_waiting=3))
    assert channel.queue_declare(QUEUE, passive=True).message_count == 8


def test_what_is_no_hint_comes_again_until_it_is_acknowledged(broker: Connection, channel: Any) -> None:
    send(channel, 1)
    (message,) = take(broker, 1)
    assert remembered(channel) == 1
    message.requeue()
    (again,) = take(broker, 1)
    again.ack()
    assert remembered(channel) == 0


def test_redis_keeps_no_hint_that_was_taken(broker: Connection, channel: Any) -> None:
    send(channel, 1, **hint(seconds=60))
    take(broker, 1)
    assert remembered(channel) == 0


def test_a_message_is_not_lost_that_redis_does_not_remember(
    broker: Connection, channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(channel, 1)
    monkeypatch.setattr(QoS, "pipe_or_acquire", fail)
    assert len(take(broker, 1)) == 1


@pytest.mark.parametrize("ahead", [-7200, 7200])
def test_no_message_comes_again_early_because_a_clock_is_wrong(
    broker: Connection, channel: Any, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    right = time.time
    monkeypatch.setattr("kombu.transport.redis.time", lambda: right() + ahead)
    monkeypatch.setattr("core.broker.redis_transport.time.time", lambda: right() + ahead)
    send(channel, 1)
    take(broker, 1)
    channel.qos.restore_visible(interval=1)
    assert remembered(channel) == 1
    with channel.conn_or_acquire() as client:
        client.zadd(channel.unacked_index_key, dict.fromkeys(client.hkeys(channel.unacked_key), right() - 3700))
    channel.qos.restore_visible(interval=1)
    assert remembered(channel) == 0


def test_a_channel_is_closed_though_redis_does_not_answer(
    broker: Connection, channel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its transport leaves the event loop, where it would go on taking messages beside its successor."""
    send(channel, 1)
    (message,) = take(broker, 1)
    hub = Hub()
    transport: Any = broker.transport
    transport.register_with_event_loop(broker.connection, hub)
    assert hub.on_tick
    channel._in_poll = object()
    monkeypatch.setattr(Channel, "_brpop_read", _broken_read)
    monkeypatch.setattr(QoS, "restore_by_tag", fail)
    broker.release()
    assert not hub.on_tick
    assert channel.closed
    assert not transport.cycle._channels
    message.ack()  # of the task that went on meanwhile
    hub.close()


def _broken_read(channel: Any) -> None:
    channel._in_poll = None
    fail()


def test_every_url_of_a_redis_leads_to_our_transport() -> None:
    for url in ("redis://127.0.0.1:1/1", "rediss://127.0.0.1:1/1", "redis+socket:///nowhere?virtual_host=1"):
        assert isinstance(app.connection_for_write(url).transport, Transport)
    with pytest.raises(OperationalError):
        app.connection_for_write("redis://127.0.0.1:1/1").ensure_connection(max_retries=1)
