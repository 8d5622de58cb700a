"""A connection of the pool, and the turn to compute, are lent to a request. What is slow gives both back first."""

from collections.abc import Callable

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse

from core.turns import turns


def give_back() -> None:
    """Before whatever waits or computes: others can use the connection, and go on; the next query takes both anew.

    Within a transaction the connection stays, as it does where nothing is pooled and nobody waits for it.
    """
    turns.pause()
    if settings.DATABASE_POOL_SIZE and not connection.in_atomic_block:
        connection.close()


def drop() -> None:
    """Close the connection instead: libpq keeps the memory of the longest answer that one has taken."""
    if settings.DATABASE_POOL_SIZE and not connection.in_atomic_block and connection.connection is not None:
        connection.connection.close()
        connection.close()


class GiveBackMiddleware:
    """When the answer is made: Django would keep the connection until the client has read all of it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        give_back()
        return response
