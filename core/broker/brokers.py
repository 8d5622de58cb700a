"""What differs between the brokers that Celery's messages may go through: Redis or RabbitMQ."""

from typing import Any
from urllib.parse import urlsplit

REDIS_SCHEMES = frozenset({"redis", "rediss", "redis+socket", "unix"})
RABBITMQ_SCHEMES = frozenset({"amqp", "amqps"})
_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 10.0
# A worker's event loop waits for Redis, and nothing else runs meanwhile.
_REDIS_ANSWER_SECONDS = 5.0


def is_rabbitmq(url: str) -> bool:
    """Whether a broker's URL names a RabbitMQ."""
    return urlsplit(url).scheme in RABBITMQ_SCHEMES


def transport_options(url: str) -> dict[str, Any]:
    """Options of kombu's transport for this URL. Those of one transport are errors, or ignored, in another."""
    if is_rabbitmq(url):
        # A message counts as sent once a majority of the queue's replicas has it. Without a time to read, a connection
        # to a host that is gone, or to a queue that has no leader, would be waited for without end.
        return {
            "confirm_publish": True,
            "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": _ANSWER_SECONDS,
            "write_timeout": _ANSWER_SECONDS,
        }
    return {
        "socket_connect_timeout": _CONNECT_SECONDS,
        "socket_timeout": _REDIS_ANSWER_SECONDS,
        "socket_keepalive": True,
        # A Redis that has not answered a worker's blocking read, which lasts a second, by then is hung or gone.
        "health_check_interval": 5,
        "visibility_timeout": 3600,
        # Nothing here has a priority: one list for each queue instead of four.
        "priority_steps": [0],
    }


def queue_type(url: str) -> str:
    """RabbitMQ's replicated queues: classic ones live on one node, and with it they are gone."""
    return "quorum" if is_rabbitmq(url) else "classic"
