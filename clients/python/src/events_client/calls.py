"""One description of each request for both clients: what to send, and what the answer is.

A method of a resource that is decorated with `endpoint` returns a `Call`; on a resource of `Client` it does the
request and returns the answer, on one of `AsyncClient` it returns an awaitable of it. `listing` does the same for
lists, of which it gives an iterator over all pages.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload
from urllib.parse import quote

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from events_client.shapes import Page

if TYPE_CHECKING:
    from events_client.client import AsyncClient, Client

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound="Client | AsyncClient")


class Call(Struct, Generic[T], frozen=True, kw_only=True):
    """A request below the base address, and the type of its answer.

    `repeatable`: doing it twice is the same as doing it once, so that it is done again when a connection broke.
    `seconds`: how long the platform may take for the answer, where that is longer than usual.
    `accepted`: statuses over 299 that are answers too.
    """

    method: str
    path: str
    answer: type[T]
    query: Mapping[str, str | int] = msgspec.field(default_factory=dict)
    body: bytes | None = None
    repeatable: bool = True
    seconds: float = 0.0
    accepted: tuple[int, ...] = ()


class Resource(Generic[C]):
    """Operations of one kind, done by `client`."""

    def __init__(self, client: C) -> None:
        self._client = client


class endpoint(Generic[P, T]):  # noqa: N801 - a decorator
    """Makes a method that returns a Call into one that does it."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Call[T]]) -> None:
        self.describe = describe
        update_wrapper(cast("Callable[..., Any]", self), describe)

    @overload
    def __get__(self, resource: None, owner: type) -> endpoint[P, T]: ...
    @overload
    def __get__(self, resource: Resource[Client], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, resource: Resource[AsyncClient], owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, resource: Resource[Any] | None, owner: type) -> Any:
        return self if resource is None else update_wrapper(partial(self._do, resource), self.describe)

    def _do(self, resource: Resource[Any], /, *args: P.args, **kwargs: P.kwargs) -> Any:
        return resource._client.call(self.describe(resource, *args, **kwargs))


class listing(Generic[P, T]):  # noqa: N801 - a decorator
    """Makes a method that returns the Call of a page into an iterator over all items of all pages."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Call[Page[T]]]) -> None:
        self.describe = describe
        update_wrapper(cast("Callable[..., Any]", self), describe)

    @overload
    def __get__(self, resource: None, owner: type) -> listing[P, T]: ...
    @overload
    def __get__(self, resource: Resource[Client], owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, resource: Resource[AsyncClient], owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, resource: Resource[Any] | None, owner: type) -> Any:
        return self if resource is None else update_wrapper(partial(self._do, resource), self.describe)

    def _do(self, resource: Resource[Any], /, *args: P.args, **kwargs: P.kwargs) -> Any:
        return resource._client.items(self.describe(resource, *args, **kwargs))


def next_page(call: Call[Page[T]], page: Page[T]) -> Call[Page[T]] | None:
    """The call of the page after `page`; None after the last one."""
    return replace(call, query={**call.query, "cursor": page.next_cursor}) if page.next_cursor else None


def query_of(**values: object) -> dict[str, str | int]:
    """The parameters that are given, as they are written in a query."""
    return {
        name: value if isinstance(value, int) else _written(value)
        for name, value in values.items()
        if value is not None
    }


def body_of(**values: object) -> bytes:
    """The members that are given, as a JSON object."""
    return msgspec.json.encode({name: value for name, value in values.items() if value is not None})


def part(text: str) -> str:
    """`text` as one part of a path."""
    return quote(text, safe="")


def _written(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode().strip('"')
