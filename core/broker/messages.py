"""Which of the broker's messages are tasks of this platform. Whoever can write to the broker must not end a worker.

Messages are hints, so one that is none of ours, or is broken, is dropped: what it may have meant is done by a sweep.
"""

import inspect
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
from celery import Celery
from kombu import compression
from kombu.utils import json

from core.broker.wakeup import MOST_WAITING

logger = logging.getLogger(__name__)
# The header of a message that is to be worked on later.
WAIT_SECONDS = "wait-seconds"
# The longest that is sent names 500 subscriptions, some 40 KiB.
MOST_BYTES = 256 * 1024
_MOST_ITEM_BYTES = 2 * MOST_BYTES
_MOST_RETRIES = 100
_MOST_WAIT_SECONDS = 86_400.0
_MOST_ID = 64
_LOG_SECONDS = 10.0
_BUILT_IN = "celery."


class ForeignMessageError(Exception):
    """The message is no task of this platform. The words say why, and hold nothing of it."""


class _DeliveryInfo(msgspec.Struct):
    exchange: str
    routing_key: str


class _Properties(msgspec.Struct):
    delivery_tag: str
    delivery_info: _DeliveryInfo
    body_encoding: Literal["base64"]


class _Item(msgspec.Struct):
    """What lies in a queue in Redis; `body` is base64 there."""

    body: bytes
    headers: dict[str, Any]
    properties: _Properties
    content_type: Literal["application/json"] = msgspec.field(name="content-type")
    content_encoding: Literal["utf-8"] = msgspec.field(name="content-encoding")


def check_item(item: bytes) -> None:
    """Raise ForeignMessageError unless kombu makes a message of it."""
    if len(item) > _MOST_ITEM_BYTES:
        raise ForeignMessageError("it is too long")
    try:
        raw = json.loads(item)
    except Exception as error:  # whatever a decoder raises for whatever is there
        raise ForeignMessageError("it is no JSON") from error
    check_raw(raw)


def check_raw(raw: object) -> None:
    """The same for what was JSON."""
    try:
        msgspec.convert(raw, _Item)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ForeignMessageError("it has not the form of a message") from error


def task_headers(message: Any, app: Celery) -> dict[str, Any]:
    """The headers of a task of ours, made anew: of those that came only what this platform sends, and only if sane.

    So no message names a task, a time limit or a follow-up that is not ours. Raises ForeignMessageError.
    """
    given = message.headers if isinstance(message.headers, dict) else {}
    name = given.get("task")
    if not isinstance(name, str) or name.startswith(_BUILT_IN) or name not in app.tasks:
        raise ForeignMessageError("it names no task of ours")
    if not isinstance(given.get("id"), str) or len(given["id"]) > _MOST_ID:
        raise ForeignMessageError("it has no id")
    _check_body(message, app.tasks[name])
    headers = {"lang": "py", "task": name, "id": given["id"], "root_id": given["id"], "ignore_result": True}
    headers["retries"] = int(_number(given.get("retries", 0), at_most=_MOST_RETRIES))
    if MOST_WAITING in given:
        headers[MOST_WAITING] = given[MOST_WAITING]
    if WAIT_SECONDS in given:
        # By the clock of the worker that has it: the sender may have another one.
        seconds = _number(given[WAIT_SECONDS], at_most=_MOST_WAIT_SECONDS)
        headers["eta"] = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
    return headers


def _number(value: object, *, at_most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -at_most <= value <= at_most:
        raise ForeignMessageError("a number of it is none, or too large")
    return value


def _check_body(message: Any, task: Any) -> None:
    if (message.content_type, message.content_encoding) != ("application/json", "utf-8"):
        raise ForeignMessageError("its body is no JSON in UTF-8")
    if not message.body or len(message.body) > MOST_BYTES:
        raise ForeignMessageError("its body is empty or too long")
    try:
        arguments, named, embedded = message.decode()
        inspect.signature(task.run).bind(*arguments, **named)
    except Exception as error:  # likewise
        raise ForeignMessageError("its body does not fit the task") from error
    if not isinstance(embedded, dict | None) or any((embedded or {}).values()):
        raise ForeignMessageError("it has a follow-up")


def refuse_compression() -> None:
    """Nothing here is sent compressed, and what is would be inflated before anybody can look at it."""

    def refuse(_: object) -> bytes:
        raise ForeignMessageError("it is compressed")

    for name in compression.encoders():
        compression.register(refuse, refuse, name)


class DroppedMessages:
    """Tells of them in at most one line in ten seconds: whoever fills a queue with junk shall not fill the disk."""

    def __init__(self) -> None:
        self._number = 0
        self._silent_until = 0.0

    def tell(self, reason: object) -> None:
        self._number += 1
        if (now := time.monotonic()) >= self._silent_until:
            logger.warning("%d messages of the broker were dropped; of the last: %s", self._number, reason)
            self._number, self._silent_until = 0, now + _LOG_SECONDS


dropped_messages = DroppedMessages()
