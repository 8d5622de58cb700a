"""Celery's messages through Redis: kombu's transport, without what lets a worker stand still after a fault of Redis.

kombu gives a message's place back once Redis has confirmed the ack. An ack that fails keeps the place for ever, and a
worker with as many failed acks as places takes nothing more, alive and silent. Here no fault keeps a place, and hints,
which almost all messages are, need no ack at all. See docs/adr/0013.
"""

import logging
import time
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis, virtual
from redis import Redis
from redis.exceptions import RedisError

from core.broker.messages import ForeignMessageError, check_item, check_raw, dropped_messages
from core.broker.wakeup import MOST_WAITING

logger = logging.getLogger(__name__)


def use_our_transport() -> None:
    """For every URL of a Redis. Before the first connection: kombu remembers what it has looked up."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"


class Client(Redis):
    """What lies in a queue and is no message is gone when it is taken, as if the queue had been empty."""

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        answer = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call] # redis-py's
        if command_name != "BRPOP" or not answer:
            return answer
        try:
            check_item(answer[1])
        except ForeignMessageError as foreign:
            dropped_messages.tell(foreign)
            return None
        return answer


class QoS(redis.QoS):
    """The messages that were taken and are not acknowledged yet; no more than Celery has places for."""

    channel: Any
    _delivered: Any
    _remove_from_indices: Any

    def append(self, message: Any, delivery_tag: str) -> None:
        if _is_hint(message):
            virtual.QoS.append(self, message, delivery_tag)
            return
        try:
            super().append(message, delivery_tag)
            with self.channel.conn_or_acquire() as client:
                client.zadd(self.unacked_index_key, {delivery_tag: _seconds(client)})
        except (RedisError, OSError) as error:
            # Redis has handed it over already: whoever raises now loses it.
            logger.warning("a message was taken that Redis does not remember: %s", type(error).__name__)
            virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        try:
            if not self._is_hint(delivery_tag):
                super().ack(delivery_tag)
        finally:
            virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """A hint whose process was killed is gone: the sweep does its work."""
        try:
            if not self._is_hint(delivery_tag):
                super().reject(delivery_tag, requeue=requeue)
        finally:
            virtual.QoS.ack(self, delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Put back what is no hint. What Redis does not take now, it still has, and gives out again later."""
        for tag in [tag for tag, message in self._delivered.items() if _is_hint(message)]:
            del self._delivered[tag]
        try:
            super().restore_unacked(client)
        except (RedisError, OSError) as error:
            logger.warning("%s messages come again later: %s", len(self._delivered), type(error).__name__)
            self._delivered.clear()

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        try:
            super().restore_by_tag(tag, client, leftmost)
        except (ValueError, TypeError, RecursionError):
            # What is remembered is no message, and would keep the others from being given out again.
            dropped_messages.tell("Redis remembered something else under its number")
            self._remove_from_indices(tag).execute()

    @property
    def visibility_timeout(self) -> int:
        """kombu subtracts it from this host's clock, to find what others took too long ago: meant is Redis' clock."""
        with self.channel.conn_or_acquire() as client:
            ahead = time.time() - _seconds(client)
        return int(self.channel.visibility_timeout + ahead)

    def _is_hint(self, delivery_tag: str) -> bool:
        message = self._delivered.get(delivery_tag)
        return message is not None and _is_hint(message)


class Channel(redis.Channel):
    """Drops hints of which enough wait, and can always be closed."""

    QoS = QoS

    def _put(self, queue: str, message: dict[str, Any], **options: Any) -> None:
        most = (message.get("headers") or {}).get(MOST_WAITING)
        if most is None or self._size(queue) < most:
            super()._put(queue, message, **options)

    def _get_client(self) -> type[Redis]:
        return Client

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> list[str]:
        """Each queue has an exchange and a key of its own name. Redis' table of them may have been changed."""
        return [routing_key]

    def _do_restore_message(
        self,
        payload: Any,
        exchange: Any,
        routing_key: Any,
        pipe: Any,
        leftmost: bool = False,  # noqa: FBT001, FBT002 - kombu's
    ) -> None:
        try:
            check_raw(payload)
        except ForeignMessageError as foreign:
            dropped_messages.tell(foreign)
        else:
            super()._do_restore_message(payload, exchange, routing_key, pipe, leftmost)  # type: ignore[misc] # not in the stubs

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """Of a task that ran on while its connection was lost: nobody waits for this any more."""
        if not self.closed:
            super().basic_ack(delivery_tag, multiple=multiple)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        if not self.closed:
            super().basic_reject(delivery_tag, requeue=requeue)

    def close(self) -> None:
        """Also when Redis does not answer: a channel left open would go on taking messages beside its successor."""
        try:
            super().close()
        except (RedisError, OSError) as error:
            # It was reading what Redis might still have had to say, which it does not try a second time.
            logger.warning("a channel was closed without Redis: %s", type(error).__name__)
            super().close()


class Transport(redis.Transport):
    """Leaves Celery's event loop when its connection is closed; kombu's stays in it, one more for each reconnect."""

    Channel = Channel
    _loop: Any = None
    _ticks: frozenset[Any] = frozenset()

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        before = frozenset(loop.on_tick)
        super().register_with_event_loop(connection, loop)
        self._loop, self._ticks = loop, frozenset(loop.on_tick) - before

    def close_connection(self, connection: Any) -> None:
        if self._loop is not None:
            self._loop.on_tick -= self._ticks
        super().close_connection(connection)


def _is_hint(message: Any) -> bool:
    return MOST_WAITING in (message.headers or {})


def _seconds(client: Any) -> float:
    seconds, microseconds = client.time()
    return float(seconds + microseconds / 1e6)
