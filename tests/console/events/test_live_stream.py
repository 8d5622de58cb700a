"""The live page's stream on a really running server: what it brings, and when it ends."""

import asyncio
import http.client
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connections
from django.test import AsyncClient, Client

from organizations.models import Membership, Organization
from rest.doors import streams
from rest.doors.shares import Budget
from rest.doors.streams import MEDIA_TYPE
from tests.factories import UserFactory, make_organization
from tests.support.http.clients import make_sender
from tests.support.people.console_data import browser_of, make_member
from tests.support.servers import Server, serve

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
SECONDS = 60


@contextmanager
def opened(server: Server, browser: Client, path: str) -> Iterator[http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(urlsplit(server.base_url).netloc, timeout=SECONDS)
    cookie = f"{settings.SESSION_COOKIE_NAME}={browser.cookies[settings.SESSION_COOKIE_NAME].value}"
    try:
        connection.request("GET", path, headers={"Cookie": cookie, "Accept": MEDIA_TYPE})
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Content-Type"]) == (200, MEDIA_TYPE)
        yield answer
    finally:
        connection.close()


def read_until(answer: http.client.HTTPResponse, part: str) -> str:
    """The line that has it. The connection's own timeout is the deadline."""
    for line in answer:
        if part in line.decode():
            return line.decode()
    raise AssertionError(f"the stream ended without {part}")


def stream_of(organization: Organization) -> str:
    return f"/console/o/{organization.slug}/live/stream"


def test_a_stream_brings_events_as_they_come() -> None:
    with serve("asgi", workers=1) as server:
        sender = make_sender(server.base_url)
        browser = browser_of(make_member(sender.organization))
        staff = browser_of(UserFactory.create(is_staff=True))
        with (
            opened(server, browser, stream_of(sender.organization)) as own,
            opened(server, staff, "/console/live/stream") as everybodys,
        ):
            for name in ("first", "second"):
                event_id = sender.client.post("/api/v1/events", {"type": name, "data": 1}).json()["id"]
                for stream in (own, everybodys):
                    read_until(stream, f'data-id="{event_id}"')


def remove(person: User) -> None:
    Membership.objects.filter(user=person).delete()


def sign_out(person: User) -> None:
    own = [each for each in Session.objects.all() if each.get_decoded()["_auth_user_id"] == str(person.pk)]
    assert own
    for session in own:
        session.delete()


def change_password(person: User) -> None:
    person.set_password("a new one")
    person.save()


def deactivate(person: User) -> None:
    person.is_active = False
    person.save()


def no_longer_staff(person: User) -> None:
    person.is_staff = False
    person.save()


def test_a_stream_ends_when_its_person_may_not_look_any_more() -> None:
    """One server for all ways to be refused, each with a person of its own: the others' streams go on meanwhile."""
    with ExitStack() as stack:
        server = stack.enter_context(serve("asgi", workers=1))
        watched: list[tuple[Callable[[User], None], User, http.client.HTTPResponse]] = []
        ways: tuple[Callable[[User], None], ...] = (remove, change_password, deactivate, sign_out)
        for refuse in ways:
            organization = make_organization()
            person = make_member(organization)
            opening = opened(server, browser_of(person), stream_of(organization))
            watched.append((refuse, person, stack.enter_context(opening)))
        person = UserFactory.create(is_staff=True)
        opening = opened(server, browser_of(person), "/console/live/stream")
        watched.append((no_longer_staff, person, stack.enter_context(opening)))
        for refuse, person, stream in watched:
            read_until(stream, "id: ")
            refuse(person)
            stream.read()


def test_a_server_that_ends_ends_its_streams_and_does_not_wait_for_them() -> None:
    organization = make_organization()
    browser = browser_of(make_member(organization))
    with tempfile.TemporaryFile() as log, serve("asgi", workers=1, log=log) as server:
        with opened(server, browser, stream_of(organization)) as stream:
            read_until(stream, "id: ")
            server.process.send_signal(signal.SIGTERM)
            stream.read()  # a stream that is cut off instead raises IncompleteRead
        server.process.wait(SECONDS)
        log.seek(0)
        assert b"Forcing close" not in log.read()


@pytest.mark.parametrize(("total", "share"), [(0, 1), (1, 0)])
def test_where_no_more_streams_can_be_held_each_is_one_look_long(
    monkeypatch: pytest.MonkeyPatch, total: int, share: int
) -> None:
    monkeypatch.setattr(streams._streams, "budget", Budget(total=total, share=share))
    assert messages_of_a_whole_stream(f"retry: {streams.CROWDED_RETRY_MS}\n") == 1


def test_a_stream_ends_after_a_while_so_that_the_browser_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STREAM_SECONDS", 0.0)
    assert messages_of_a_whole_stream() == 1


def messages_of_a_whole_stream(beginning: str = "retry: ") -> int:
    organization = make_organization()
    browser = browser_of(make_member(organization))

    async def read() -> str:
        client = AsyncClient()
        client.cookies = browser.cookies
        answer: Any = await client.get(stream_of(organization))
        text = b"".join([part async for part in answer.streaming_content]).decode()
        # This thread is of the client, which keeps it.
        await sync_to_async(connections.close_all)()
        return text

    text = asyncio.run(read())
    assert streams._streams.budget.used == 0
    assert text.startswith(beginning)
    return text.count("id: ")
