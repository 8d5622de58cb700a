"""Whose word about a request is believed: nobody's, or that of as many proxies as TRUSTED_PROXIES says."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from django.core.checks import Tags, run_checks

from tests.support.http.clients import Client, make_sender
from tests.support.servers import serve

PUBLIC = "https://events.example.com"
MAIL = "smtp://127.0.0.1:1"
FORGED = [
    {"X-Forwarded-Proto": "https"},
    {"X-Forwarded-Protocol": "ssl"},
    {"X-Forwarded-Ssl": "on"},
    {"Forwarded": "proto=https"},
]
EVENT = {"type": "invoice.paid", "data": 1}
WARNING = "a request carried the header fields of a proxy"


@pytest.fixture
def log() -> Iterator[IO[bytes]]:
    with tempfile.NamedTemporaryFile() as file:
        yield file


def _written(log: IO[bytes]) -> str:
    return Path(log.name).read_text()


@pytest.mark.django_db(transaction=True)
def test_without_trusted_proxies_no_header_makes_http_pass_for_https(log: IO[bytes]) -> None:
    with serve(workers=1, log=log, PUBLIC_URL=PUBLIC, TRUSTED_PROXIES="0", LOG_FORMAT="json", EMAIL_URL=MAIL) as server:
        client = Client(server.base_url, None)
        sender = make_sender(server.base_url)
        for path in ("/console/", "/api/v1/events"):
            assert client.get(path, Host="events.example.com").status == 301
        assert WARNING not in _written(log)
        for forged in FORGED:
            answers = [
                client.get("/console/sign-in/", Host="events.example.com", **forged),
                client.get("/api/v1/events", Host="events.example.com", **forged),
                sender.client.post("/api/v1/events", EVENT, Host="events.example.com", **forged),
            ]
            assert [answer.status for answer in answers] == [301] * 3, forged
            assert answers[0].headers["location"] == f"{PUBLIC}/console/sign-in/"
    assert _written(log).count(WARNING) == 1, "one line for each process"
    assert "set TRUSTED_PROXIES" in _written(log)


@pytest.mark.django_db(transaction=True)
def test_the_intake_tells_of_unread_headers_too(log: IO[bytes]) -> None:
    with serve(workers=1, log=log, TRUSTED_PROXIES="0", LOG_FORMAT="json") as server:
        sender = make_sender(server.base_url)
        assert sender.client.post("/api/v1/events", EVENT, **{"X-Forwarded-For": "203.0.113.7"}).status == 202
        assert sender.client.post("/api/v1/events", EVENT, **{"X-Forwarded-For": "203.0.113.7"}).status == 202
    assert _written(log).count(WARNING) == 1


@pytest.mark.django_db(transaction=True)
def test_a_trusted_proxy_says_what_is_https(log: IO[bytes]) -> None:
    with serve(workers=1, log=log, PUBLIC_URL=PUBLIC, TRUSTED_PROXIES="1", LOG_FORMAT="json", EMAIL_URL=MAIL) as server:
        sender = make_sender(server.base_url)
        proxied = {"Host": "events.example.com", "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
        assert sender.client.get("/console/sign-in/", **proxied).status == 200
        assert sender.client.post("/api/v1/events", EVENT, **proxied).status == 202
        # Only the field of which the documents speak.
        for forged in FORGED[1:]:
            assert sender.client.get("/console/sign-in/", Host="events.example.com", **forged).status == 301
    assert WARNING not in _written(log)


@pytest.mark.parametrize(
    ("environment", "ids"),
    [
        ({"PUBLIC_URL": PUBLIC, "TRUSTED_PROXIES": "1"}, []),
        # Compose and Kubernetes: every interface, but nobody reaches the port except the proxy.
        ({"PUBLIC_URL": PUBLIC, "TRUSTED_PROXIES": "1", "HOST": "0.0.0.0"}, []),
        ({"PUBLIC_URL": PUBLIC, "TRUSTED_PROXIES": "0"}, ["events_platform.W001"]),
        ({"PUBLIC_URL": "http://events.example.com", "TRUSTED_PROXIES": "0", "HOST": "0.0.0.0"}, []),
        ({"PUBLIC_URL": "http://events.example.com", "TRUSTED_PROXIES": "1"}, []),
        (
            {"PUBLIC_URL": "http://events.example.com", "TRUSTED_PROXIES": "1", "HOST": "0.0.0.0"},
            ["events_platform.W002"],
        ),
    ],
)
def test_the_deployment_check_names_headers_that_are_ignored_or_believed(
    monkeypatch: pytest.MonkeyPatch, settings: Any, environment: dict[str, str], ids: list[str]
) -> None:
    monkeypatch.setenv("HOST", environment.get("HOST", ""))
    settings.HTTPS = environment["PUBLIC_URL"].startswith("https")
    settings.TRUSTED_PROXIES = int(environment["TRUSTED_PROXIES"])
    found = run_checks(tags=[Tags.security], include_deployment_checks=True)
    ours = [message for message in found if str(message.id).startswith("events_platform.")]
    assert [message.id for message in ours] == ids
    assert all(message.hint for message in ours)
