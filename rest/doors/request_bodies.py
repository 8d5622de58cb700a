"""Reading a request's body in the event loop: up to its limit, and within what a process holds of all of them."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from core import bounds
from core.problems import Problem
from core.turns import Owner
from rest.doors.asgi import Receive
from rest.doors.shares import Budget, TooMuchError, busy

# Of requests with a key, by organization.
bodies = Budget(total=bounds.MAX_BYTES_IN_FLIGHT, share=bounds.MAX_BYTES_OF_ONE)
# Of requests without one, by address.
forms = Budget(total=bounds.MAX_FORM_BYTES_IN_FLIGHT, share=bounds.MAX_FORM_BYTES_OF_ONE)


class ClientGone(Exception):  # noqa: N818 - it is no error of ours
    """The client closed the connection before its request was complete."""


class HeldBody:
    """What one request has of a budget, until its `with` block ends."""

    __slots__ = ("_budget", "_counted", "_owner", "_size", "is_read")

    def __init__(self, budget: Budget = bodies) -> None:
        self._budget = budget
        self._owner: Owner = None
        # How many bytes are held, and how many of these count.
        self._size = self._counted = 0
        # Whether the body came to its end: the connection can take another request.
        self.is_read = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go()

    def grow(self, size: int) -> None:
        """`size` bytes more are held, as when a body is unpacked. Raises Problem 503 beyond the budget."""
        counted = max(0, self._size + size - bounds.UNCOUNTED_BODY_BYTES) - self._counted
        if counted > 0:
            take_bytes(self._budget, self._owner, counted)
            self._counted += counted
        self._size += size

    async def read(
        self,
        receive: Receive,
        limit: int,
        *,
        owner: Owner,
        declared: int = 0,
        discarded: int = bounds.MAX_DISCARDED_BYTES,
    ) -> bytes:
        """The whole body of a request of `owner`. Raises Problem 413 or 503, or ClientGone.

        There must be room for all that a large one has `declared`, by its Content-Length, before any of it is read. One
        that is too large is read on without being kept, up to `discarded` bytes: a client that sends all of it before
        it reads would see no answer.
        """
        self._owner = owner
        if bounds.RESERVED_FROM_BYTES <= declared <= limit:
            self.grow(declared)
        part, more = _body_of(await receive())
        if not more and len(part) <= limit:
            self.is_read = True
            self.grow(max(0, len(part) - self._size))
            return part
        parts, size = [], 0
        while True:
            size += len(part)
            if size <= limit:
                self.grow(max(0, size - self._size))
                parts.append(part)
            elif parts:
                parts.clear()
                self._let_go()
            if not more or size > max(limit, discarded):
                break
            part, more = _body_of(await receive())
        self.is_read = not more
        if size > limit:
            raise too_large(limit)
        return b"".join(parts)

    def _let_go(self) -> None:
        if self._counted:
            self._budget.give_back(self._owner, self._counted)
        self._size = self._counted = 0


def take_bytes(budget: Budget, owner: Owner, size: int) -> None:
    """Raises Problem 503 when it is too much."""
    try:
        budget.take(owner, size)
    except TooMuchError as error:
        raise busy("Too many bytes of requests or answers are held") from error


def too_large(limit: int) -> Problem:
    return Problem("payload_too_large", f"The body is over {limit} bytes.")


def _body_of(message: Mapping[str, Any]) -> tuple[bytes, bool]:
    """The next bytes, and whether more will come."""
    if message["type"] != "http.request":
        raise ClientGone
    return message.get("body", b""), message.get("more_body", False)
