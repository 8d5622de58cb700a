"""The Django app: events go out on commit, webhooks are verified and reach their handlers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import KEY, Answer, Request, Server, accepted, problem

from events_client import InvalidEventError
from events_client.webhooks import generate_secret, signed_headers

django = pytest.importorskip("django")
from django.conf import settings  # noqa: E402 - only where Django is

if not settings.configured:
    settings.configure(
        INSTALLED_APPS=["events_client.django"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        ROOT_URLCONF="events_client.django",
        SECRET_KEY="only-for-tests",
        USE_TZ=True,
    )
    django.setup()

from django.db import connection, transaction  # noqa: E402
from django.test import RequestFactory, override_settings  # noqa: E402

from events_client.django import on, receive, receiving, send_on_commit, sending  # noqa: E402  # noqa: E402

SECRET = generate_secret()
BODY = b'{"id":"e-1","type":"invoice.paid","timestamp":"2026-11-23T10:00:00.000000Z","data":{"amount":1}}'


@pytest.fixture
def configured(server: Server) -> Iterator[None]:
    chosen = {"URL": server.url, "API_KEY": KEY, "WEBHOOK_SECRETS": [SECRET], "RETRY_SECONDS": 0.5}
    with override_settings(EVENTS_CLIENT=chosen):
        yield
        sending._client().close()
    connection.close()


@pytest.mark.usefixtures("configured")
def test_what_is_committed_is_sent_and_what_is_rolled_back_is_not(server: Server) -> None:
    data = {"amount": 1}
    with transaction.atomic():
        send_on_commit("invoice.paid", data, subject="inv_1")
        data["amount"] = 2
        assert server.requests == []
    with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012 - both belong to it
        send_on_commit("invoice.paid", 3)
        raise ZeroDivisionError
    (event,) = server.sent()
    assert (event["data"], event["subject"]) == ({"amount": 1}, "inv_1")
    with pytest.raises(InvalidEventError), transaction.atomic():
        send_on_commit("invoice.paid", object())


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("answer", [problem(503, "service_unavailable", Retry_After="60"), "refused"])
def test_what_cannot_be_sent_is_logged_and_fails_no_request(
    server: Server, caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    def refuse(request: Request) -> Answer:
        told = accepted(request)
        told.body["results"][0].update(status="rejected", error={"code": "validation_failed", "status": 422})
        return Answer(422, told.body)

    server.otherwise = refuse if answer == "refused" else lambda _: answer
    with caplog.at_level(logging.ERROR, "events_client"), transaction.atomic():
        send_on_commit("invoice.paid", 1)
    assert "invoice.paid" in caplog.text


@pytest.mark.usefixtures("configured")
def test_it_can_be_sent_in_the_background(server: Server) -> None:
    chosen = {"URL": server.url, "API_KEY": KEY, "BUFFERED": True}
    with override_settings(EVENTS_CLIENT=chosen):
        with transaction.atomic():
            send_on_commit("invoice.paid", 1)
        sending._buffer().close()
        sending._client().close()
    assert [event["data"] for event in server.sent()] == [1]


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(receiving, "_handlers", [])
    seen: list[Any] = []
    on("invoice.*", "invoice.paid")(seen.append)
    on("order.paid")(seen.append)
    return seen


def posted(body: bytes = BODY, headers: dict[str, str] | None = None) -> Any:
    given = signed_headers(SECRET, "e-1", BODY) if headers is None else headers
    return receive(RequestFactory().post("/hook", body, content_type="application/json", headers=given))


@pytest.mark.usefixtures("configured")
def test_a_webhook_reaches_its_handlers_once(handled: list[Any]) -> None:
    assert posted().status_code == 204
    assert [event["data"] for event in handled] == [{"amount": 1}]


@pytest.mark.usefixtures("configured")
def test_what_is_not_genuine_reaches_nobody(handled: list[Any]) -> None:
    assert posted(BODY + b" ").status_code == 400
    assert posted(headers={}).status_code == 400
    assert receive(RequestFactory().get("/hook")).status_code == 405
    assert handled == []


@pytest.mark.usefixtures("configured")
def test_a_handler_that_raises_is_heard_of(handled: list[Any]) -> None:
    def fail(event: dict[str, Any]) -> None:
        raise ValueError("not today")

    on("invoice.paid")(fail)
    with pytest.raises(ValueError, match="not today"):
        posted()
