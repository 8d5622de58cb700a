"""How a room calls rooms above it, which it does not know: they register functions, in AppConfig.ready()."""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Registry(Generic[F]):
    """Functions in the order of their registration, which is that of INSTALLED_APPS."""

    def __init__(self) -> None:
        self.functions: list[F] = []

    def register(self, function: F) -> None:
        self.functions.append(function)

    def __iter__(self) -> Iterator[F]:
        return iter(self.functions)
