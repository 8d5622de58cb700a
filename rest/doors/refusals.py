"""What the ASGI application refuses by itself: programs get a problem, people a page; told of, and counted."""

import logging
import time
from collections.abc import Mapping
from html import escape

from django.conf import settings

from core.log_lines import level_of, log_line
from core.metrics import note_request
from core.problems import Problem
from rest.doors.asgi import Send, problem_answer, send_answer
from rest.middleware import request_id_of, server_timing

logger = logging.getLogger("requests")
# There is no route yet.
_ROUTE = "refused"
# A flood of them gets so many lines a second.
_MOST_LINES = 50


class Refusals:
    """Of one process."""

    def __init__(self) -> None:
        self._second = 0
        self._lines = 0

    async def answer(
        self,
        send: Send,
        problem: Problem,
        *,
        method: str,
        headers: Mapping[str, str],
        fields: Mapping[str, str],
        started: float,
        as_page: bool,
    ) -> None:
        """`headers` are the request's, `fields` more of the answer's; `started` is of time.perf_counter()."""
        request_id = request_id_of(headers.get("request-id"))
        body, own_fields = _page(problem, request_id) if as_page else problem_answer(problem, request_id)
        ours = {"request-id": request_id, "server-timing": server_timing(started), "cache-control": "no-store"}
        status = problem.status_code
        note_request(route=_ROUTE, method=method, status=status, seconds=time.perf_counter() - started)
        self._tell(status=status, code=problem.problem_type.code, request_id=request_id)
        await send_answer(send, status, b"" if method == "HEAD" else body, {**fields, **own_fields, **ours})

    def _tell(self, *, status: int, code: str, request_id: str) -> None:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if settings.LOG_REQUESTS != "none" and self._lines <= _MOST_LINES:
            level = level_of(status)
            log_line(logger, "request", level=level, route=_ROUTE, status=status, code=code, request_id=request_id)


def _page(problem: Problem, request_id: str) -> tuple[bytes, dict[str, str]]:
    title, detail = escape(problem.problem_type.title), escape(str(problem.detail))
    body = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f"<title>{title}</title><h1>{title}</h1><p>{detail}</p><p>Request {request_id}</p></html>"
    ).encode()
    fields = {"content-type": "text/html; charset=utf-8", "content-security-policy": "default-src 'none'"}
    return body, {**problem.headers, **fields}
