"""Bookkeeping without an event loop: after a request, when it is time, what the process has noted is written."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from core.ports import SyncDatabase, SyncRedis, run_now
from core.postgresql.lending import give_back
from ingestion.intake.bookkeeping import Bookkeeper


class BookkeepingMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self.books = Bookkeeper(SyncDatabase(), SyncRedis())

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        # A question about health is answered at once, whatever hangs.
        if self.books.due() and not request.path.startswith("/health/"):
            run_now(self.books.write())
            give_back()
        return response
