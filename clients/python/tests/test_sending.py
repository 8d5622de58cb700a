"""Sending one event: what goes out, what is tried again, what the errors say."""

import json
import os
import socket
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from conftest import Answer, Do, Server, problem

from events_client import (
    AsyncClient,
    Client,
    ConfigurationError,
    InvalidEventError,
    NotReachableError,
    ProblemError,
    Raw,
)


def send(client: Any) -> Any:
    return client.events.send("invoice.paid", {"amount": 12900})


def test_it_works(do: Do, server: Server) -> None:
    sent = do(lambda client: client.events.send("invoice.paid", {"amount": 1}, source="/billing", subject="inv_1"))
    assert (sent.id, sent.status, sent.duplicate) == ("e-1", "accepted", False)
    (request,) = server.requests
    assert request.headers["authorization"] == "Bearer evp_test_key"
    body = json.loads(request.body)
    assert body.pop("idempotency_key")
    assert body == {"type": "invoice.paid", "data": {"amount": 1}, "source": "/billing", "subject": "inv_1"}


@pytest.mark.parametrize(
    "failure",
    [
        problem(503, "service_unavailable", Retry_After="0"),
        problem(429, "rate_limited", Retry_After="0"),
        Answer(502, "a proxy's page"),
        Answer(broken=True),
    ],
    ids=["503", "429", "502", "broken"],
)
def test_a_retry_is_the_same_event(do: Do, server: Server, failure: Answer) -> None:
    server.script.extend([failure, failure])
    do(send)
    first, *others = [request.body for request in server.requests]
    assert others == [first, first]


def test_what_is_not_repeatable_is_not_made_again_when_its_answer_is_lost(do: Do, server: Server) -> None:
    server.script.append(Answer(broken=True))
    with pytest.raises(NotReachableError):
        do(lambda client: client.subscriptions.create_webhook("https://example.com"))
    assert len(server.requests) == 1


def test_it_waits_as_long_as_it_is_told_and_no_longer_than_it_may(do: Do, server: Server) -> None:
    server.script.extend([problem(429, "rate_limited", Retry_After="3600")])
    with pytest.raises(ProblemError) as raised:
        do(send, retry_seconds=5)
    assert (raised.value.code, raised.value.status, raised.value.retry_after) == ("rate_limited", 429, 3600.0)
    assert len(server.requests) == 1


def test_a_refused_event_says_why(do: Do, server: Server) -> None:
    answer = problem(422, "validation_failed")
    errors = [{"pointer": "/type", "code": "invalid", "detail": "No such type."}]
    server.script.append(Answer(422, {**answer.body, "errors": errors}, answer.headers))
    with pytest.raises(ProblemError, match=r"validation_failed(.|\n)*r-1(.|\n)*/type: No such type\.") as raised:
        do(send)
    assert raised.value.errors[0].pointer == "/type"
    assert len(server.requests) == 1


def test_another_server_is_told_from_the_platform(do: Do, server: Server) -> None:
    server.script.append(Answer(200, "welcome"))
    with pytest.raises(ProblemError, match="Is the address right"):
        do(send)


def test_nobody_there(do: Do) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", "k", retry_seconds=0.2) as client, pytest.raises(NotReachableError):
        send(client)


def test_data_goes_out_as_it_is(do: Do, server: Server) -> None:
    text = b'{ "b": 1.10, "a": 123456789012345678901234567890,\n "a": -0, "t": "\\u00e9" }'
    do(lambda client: client.events.send("t", Raw(text)))
    assert b'"data":' + text in server.requests[0].body


def test_numbers_keep_their_value(do: Do, server: Server) -> None:
    do(lambda client: client.events.send("t", [10**30, Decimal("1.10"), 0.1, None]))
    assert b'"data":[1000000000000000000000000000000,1.10,0.1,null]' in server.requests[0].body


@pytest.mark.parametrize(
    "data",
    [float("nan"), {"deep": [{"x": float("inf")}]}, object(), {"x": "\ud800"}, Raw(b'{"a":')],
    ids=["nan", "inf", "object", "surrogate", "half"],
)
def test_what_has_no_json_is_not_sent(do: Do, server: Server, data: object) -> None:
    with pytest.raises(InvalidEventError):
        do(lambda client: client.events.send("t", data))
    assert server.requests == []


def test_times_have_zones(do: Do, server: Server) -> None:
    at = datetime(2026, 11, 23, 10, tzinfo=timezone.utc)
    do(lambda client: client.events.send("t", 1, time=at, deliver_at="2026-12-01T00:00:00Z"))
    body = json.loads(server.requests[0].body)
    assert (body["time"], body["deliver_at"]) == ("2026-11-23T10:00:00Z", "2026-12-01T00:00:00Z")
    with pytest.raises(InvalidEventError, match="time zone"):
        do(lambda client: client.events.send("t", 1, time=datetime(2026, 1, 1)))  # noqa: DTZ001 - what is refused


def test_pages_are_followed(do: Do, server: Server) -> None:
    server.script.extend(
        [
            Answer(200, {"data": [_type("a"), _type("b")], "next_cursor": "c1"}),
            Answer(200, {"data": [_type("c")], "next_cursor": None}),
        ]
    )

    def names(client: Any) -> Any:
        if isinstance(client, Client):
            return [each.name for each in client.event_types.list(name="*")]

        async def collected() -> list[str]:
            return [each.name async for each in client.event_types.list(name="*")]

        return collected()

    assert do(names) == ["a", "b", "c"]
    assert [request.path.partition("?")[2] for request in server.requests] == [
        "name=%2A&limit=100",
        "name=%2A&limit=100&cursor=c1",
    ]


def _type(name: str) -> dict[str, Any]:
    shown = {"name": name, "description": "", "schema": None, "validation": "off", "count": 1, "new": True}
    return {**shown, "first_seen_at": None, "last_seen_at": None}


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("url", "key", "complaint"),
    [
        ("", "k", "EVP_URL"),
        ("http://h", "", "EVP_API_KEY"),
        ("localhost:8000", "k", "https://"),
        ("http://h", "a b", "copy it anew"),
    ],
)
def test_a_wrong_configuration_is_named(
    monkeypatch: pytest.MonkeyPatch, kind: type[Client], url: str, key: str, complaint: str
) -> None:
    monkeypatch.delenv("EVP_URL", raising=False)
    monkeypatch.delenv("EVP_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match=complaint):
        kind(url, key)


def test_the_environment_names_platform_and_key(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setenv("EVP_URL", server.url + "/api/v1/")
    monkeypatch.setenv("EVP_API_KEY", "from-environment")
    with Client() as client:
        send(client)
    assert server.requests[0].path == "/api/v1/events"
    assert server.requests[0].headers["authorization"] == "Bearer from-environment"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_connections_of_its_own(server: Server) -> None:
    with Client(server.url, "k") as client:
        send(client)
        before = client.http
        child = os.fork()
        if child == 0:
            os._exit(0 if client.http is not before and send(client).id == "e-1" else 1)
        assert os.waitpid(child, 0)[1] == 0
