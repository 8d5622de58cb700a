"""Requests through Django's handler, in this process: the time of the server without sockets, and its statements."""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from django.core.cache import cache
from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client

from benchmarks.console_report import Figures, NotMeasured, PageRow
from benchmarks.console_scene import Scene, make_scene
from benchmarks.console_urls import Page, all_pages
from installation.health.page import forget_examination
from portal.pages.entry import cookie_name
from rest.doors.streams import MEDIA_TYPE

BLOCK = 10
_REFUSALS = {403: "refused, as it should be (403)", 405: "takes POST alone: it changes something (405)"}


@dataclass(kw_only=True)
class _Side:
    """A database with what is in it. `clients` are signed in there."""

    database: str
    scene: Scene
    clients: dict[str, Client]

    def use(self) -> None:
        """Go on in this database."""
        if connection.settings_dict["NAME"] != self.database:
            connection.close()
            connection.settings_dict["NAME"] = self.database


@dataclass(kw_only=True)
class _Found:
    rows: list[PageRow] = field(default_factory=list)
    not_measured: list[NotMeasured] = field(default_factory=list)


class _Counter:
    """Counts statements: `connection.execute_wrapper(counter)`."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001
        self.count += 1
        return execute(sql, params, many, context)


@dataclass(kw_only=True)
class _Asked:
    """A page in one database, asked for again and again."""

    client: Client
    path: str
    times: list[float] = field(default_factory=list)
    queries: int = 0
    size: int = 0

    def ask(self, requests: int, *, warm_up: int) -> None:
        for number in range(warm_up + requests):
            # What is kept for a minute is asked for anew each time.
            cast(Any, cache).delete_pattern("console:*")  # Django's own caches have no such method
            forget_examination()
            counter = _Counter()
            with connection.execute_wrapper(counter):
                started = time.perf_counter()
                # With the first message of a stream.
                content = cast(HttpResponse | StreamingHttpResponse, self.client.get(self.path)).getvalue()
                passed = (time.perf_counter() - started) * 1000
            if number >= warm_up:
                self.times.append(passed)
                self.queries, self.size = max(self.queries, counter.count), len(content)

    def figures(self) -> Figures:
        times = sorted(self.times)
        return Figures(p50=_at(times, 0.5), p95=_at(times, 0.95), queries=self.queries, size=self.size)


def measure_pages(*, databases: Sequence[str], requests: int, warm_up: int, rows: str) -> dict[str, Any]:
    """Each page as each person, in both databases by turns."""
    sides = [_side(database) for database in databases]
    found = _Found()
    pages = [(page, viewer) for page in all_pages() for viewer in page.viewers if rows in page.name]
    for number, (page, viewer) in enumerate(pages, 1):
        outcome = _measure(sides, page, viewer, requests=requests, warm_up=warm_up)
        if isinstance(outcome, PageRow):
            found.rows.append(outcome)
            _say(f"{number}/{len(pages)} {page.name} ({viewer}): {outcome.few.p95:.1f} → {outcome.many.p95:.1f} ms")
        else:
            found.not_measured.append(outcome)
    return asdict(found)


def _side(database: str) -> _Side:
    connection.close()
    connection.settings_dict["NAME"] = database
    scene = make_scene()
    viewers = ("staff", "member", "customer")
    clients = {name: Client(SERVER_NAME="127.0.0.1", raise_request_exception=False) for name in viewers}
    for name, user in (("staff", scene.staff), ("member", scene.member)):
        clients[name].force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    clients["customer"].cookies[cookie_name()] = scene.portal_session
    return _Side(database=database, scene=scene, clients=clients)


def _measure(sides: Sequence[_Side], page: Page, viewer: str, *, requests: int, warm_up: int) -> PageRow | NotMeasured:
    if page.reason:
        return NotMeasured(page=page.name, viewer=viewer, reason=page.reason)
    asked: list[_Asked] = []
    status = 200
    for side in sides:
        side.use()
        try:
            path = page.path(side.scene)
        except LookupError:
            # Of what is only in the admin, there may be none; the console's pages are all about something.
            reason = "there is none of it in the data"
            return NotMeasured(page=page.name, viewer=viewer, reason=reason, is_failure=not page.is_of_admin)
        answer = side.clients[viewer].get(path)
        if problem := _problem(answer):
            is_failure = answer.status_code not in _REFUSALS and not answer.streaming
            return NotMeasured(page=page.name, viewer=viewer, reason=problem, is_failure=is_failure)
        status = answer.status_code
        asked.append(_Asked(client=side.clients[viewer], path=path))
    # By turns in short blocks, so that a slow moment of the machine meets both sides.
    for begin in range(0, requests, BLOCK):
        for side, one in zip(sides, asked, strict=True):
            side.use()
            one.ask(min(BLOCK, requests - begin), warm_up=warm_up)
    few, many = (one.figures() for one in asked)
    return PageRow(page=page.name, viewer=viewer, status=status, few=few, many=many)


def _problem(answer: Any) -> str:
    if answer.streaming and answer.headers["Content-Type"] != MEDIA_TYPE:
        return "a file"
    if answer.status_code in {200, 301, 302}:
        target = answer.headers.get("Location", "")
        return f"led to {target}" if "sign-in" in target or "login" in target else ""
    return _REFUSALS.get(answer.status_code, f"answered {answer.status_code}")


def _at(times: Sequence[float], part: float) -> float:
    return round(times[math.ceil(part * len(times)) - 1], 3)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
