"""The command `evp`, as a person or a script runs it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from threading import Event
from typing import Any

import pytest
from conftest import KEY, Answer, Request, Server, accepted, problem

from events_client import Client, ProblemError, Raw, verify_webhook
from events_client.webhooks import generate_secret

EVP = [sys.executable, "-m", "events_client.cli.main"]
ORGANIZATION = {"id": "o", "name": "Example", "slug": "example", "plan": "free", "suspended": False}


class Ran:
    """What a run printed, and its exit status."""

    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.status, self.out, self.err = done.returncode, done.stdout.decode(), done.stderr.decode()

    def json(self) -> Any:
        return json.loads(self.out)


class Evp:
    """Runs `evp` with a home of its own."""

    def __init__(self, home: Path, url: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("EVP_")}
        self.home = home
        self.environ = {**kept, "HOME": str(home), "XDG_CONFIG_HOME": "", "XDG_STATE_HOME": "", "COLUMNS": "200"}
        self.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
        self.signed_in = {"EVP_URL": url, "EVP_API_KEY": KEY}

    def __call__(self, *arguments: str, stdin: bytes = b"", environ: dict[str, str] | None = None) -> Ran:
        given = {**self.environ, **(self.signed_in if environ is None else environ)}
        return Ran(
            subprocess.run([*EVP, *arguments], input=stdin, env=given, capture_output=True, timeout=120, check=False)
        )


@pytest.fixture
def evp(tmp_path: Path, server: Server) -> Evp:
    return Evp(tmp_path, server.url)


def platform_like(request: Request) -> Answer:
    if request.path.endswith("/organization"):
        return Answer(200, {**ORGANIZATION, "limits": {"events_per_minute": 3}, "usage": {}})
    return accepted(request)


def test_data_is_sent_as_it_is_written(evp: Evp, server: Server, tmp_path: Path) -> None:
    file = tmp_path / "data.json"
    file.write_bytes(b'{"b": 1.10,\n "a": 1e2}')
    assert evp("send", "t", '{"b": 1.10, "a": -0}').out == "accepted e-1\n"
    assert evp("send", "t", f"@{file}", "--json").json()["id"] == "e-1"
    assert evp("send", "t", "-", "--subject", "s", stdin=b"[1.0]").status == 0
    assert b'"data":{"b": 1.10, "a": -0}' in server.requests[0].body
    assert b'"data":{"b": 1.10,\n "a": 1e2}' in server.requests[1].body
    assert b'"data":[1.0],"subject":"s"' in server.requests[2].body


def test_how_it_ends(evp: Evp, server: Server) -> None:
    server.script.append(problem(422, "validation_failed"))
    refused = evp("send", "t", "1")
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.startswith("evp: validation_failed: ")
    assert evp("send", "t", "not json").status == 2
    assert evp("send").status == 2
    assert evp("sent").status == 2
    not_signed_in = evp("events", "list", environ={})
    assert (not_signed_in.status, "evp login" in not_signed_in.err) == (2, True)
    nobody = evp("doctor", environ={"EVP_URL": "http://127.0.0.1:9", "EVP_API_KEY": "k"})
    assert (nobody.status, "not_reachable" in nobody.err) == (3, True)


def test_lines_are_sent_in_batches_that_the_plan_allows(evp: Evp, server: Server) -> None:
    server.otherwise = platform_like
    lines = (
        b'{"type":"t","data":1.10}\n\n{"type":"t","data":2,"idempotency_key":"mine"}\n{"type":"t","data":3}\nno\n{}\n'
    )
    ran = evp("send", "--ndjson", "-", "--json", stdin=lines)
    assert ran.json() == {"lines": 6, "accepted": 4, "duplicates": 0, "refused": 1}
    assert (ran.status, "line 5: malformed_json" in ran.err) == (1, True)
    bodies = [request.body for request in server.requests if request.path.endswith("batch")]
    assert [len(json.loads(body)) for body in bodies] == [3, 1]
    assert b'"type":"t","data":1.10}' in bodies[0]
    assert [event.get("idempotency_key") == "mine" for event in server.sent()] == [False, True, False, False]
    assert len({event["idempotency_key"] for event in server.sent()}) == 4


def test_a_file_goes_on_where_it_stopped_with_the_same_keys(evp: Evp, server: Server, tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text("".join(f'{{"type":"t","data":{number}}}\n' for number in range(7)))
    batches = 0

    def stop_at_the_second_batch(request: Request) -> Answer:
        nonlocal batches
        batches += (sends := request.path.endswith("batch"))
        return problem(401, "api_key_revoked") if sends and batches == 2 else platform_like(request)

    server.otherwise = stop_at_the_second_batch
    stopped = evp("send", "--ndjson", str(file))
    assert (stopped.status, "stopped after line 3" in stopped.err) == (1, True)
    assert evp("send", "--ndjson", str(file)).status == 2
    resumed = evp("send", "--ndjson", str(file), "--resume", "--json")
    assert resumed.json() == {"lines": 7, "accepted": 7, "duplicates": 0, "refused": 0}
    assert "going on after line 3" in resumed.err
    keys: dict[int, set[str]] = {}
    for event in server.sent():
        keys.setdefault(event["data"], set()).add(event["idempotency_key"])
    assert [len(keys[number]) for number in range(7)] == [1] * 7
    assert evp("send", "--ndjson", str(file), "--resume").status == 0


@pytest.mark.parametrize("last", [1, 2])
def test_who_was_killed_sends_each_line_under_one_key(evp: Evp, server: Server, tmp_path: Path, last: int) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text("".join(f'{{"type":"t","data":{number}}}\n' for number in range(7)))
    started: Queue[subprocess.Popen[bytes]] = Queue()
    killed = Event()
    batches = 0

    def kill_before_the_answer(request: Request) -> Answer:
        nonlocal batches
        batches += request.path.endswith("batch")
        if batches == last and request.path.endswith("batch"):
            process = started.get()
            process.kill()
            process.wait()
            killed.set()
        return platform_like(request)

    server.otherwise = kill_before_the_answer
    started.put(subprocess.Popen([*EVP, "send", "--ndjson", str(file)], env={**evp.environ, **evp.signed_in}))
    assert killed.wait(60)
    resumed = evp("send", "--ndjson", str(file), "--resume", "--json").json()
    assert resumed == {"lines": 7, "accepted": 7, "duplicates": 0, "refused": 0}
    assert {event["data"] for event in server.sent()} == {*range(7)}
    assert len({(event["data"], event["idempotency_key"]) for event in server.sent()}) == 7


def test_login_keeps_the_key_where_only_the_user_reads_it(evp: Evp, server: Server) -> None:
    server.otherwise = platform_like
    login = evp("login", "--url", server.url, "--key-from-stdin", stdin=b"evp_key\n", environ={})
    assert login.status == 0, login.err
    assert "Signed in to Example" in login.out
    file = evp.home / ".config/evp/profiles.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert evp("send", "t", "1", environ={}).status == 0
    assert server.requests[-1].headers["authorization"] == "Bearer evp_key"
    server.script.append(problem(401, "invalid_api_key"))
    refused = evp("login", "--url", server.url, "--key-from-stdin", stdin=b"other\n", environ={})
    assert (refused.status, "invalid_api_key" in refused.err) == (1, True)
    assert "other" not in file.read_text()


def test_schemas_are_compared_and_pushed(evp: Evp, server: Server, tmp_path: Path) -> None:
    known = {"description": "", "validation": "reject", "count": 0, "first_seen_at": None, "last_seen_at": None}
    shown = [{**known, "name": name, "schema": {"type": "object"}} for name in ("invoice.paid", "invoice.sent")]

    def types(request: Request) -> Answer:
        listed = Answer(200, {"data": shown, "next_cursor": None})
        return listed if request.method == "GET" else Answer(200, shown[0])

    server.otherwise = types
    (tmp_path / "schemas/billing").mkdir(parents=True)
    (tmp_path / "schemas/invoice.paid.json").write_text('{"type": "object"}')
    (tmp_path / "schemas/invoice.sent.schema.json").write_text('{"type": "array"}')
    (tmp_path / "schemas/billing/new.json").write_text("true")
    checked = evp("types", "push", str(tmp_path / "schemas"), "--check")
    assert (checked.status, "out_of_date: 2 of 3" in checked.err) == (1, True)
    assert "billing/new: new" in checked.out
    assert '+  "type": "array"' in checked.out
    assert {request.method for request in server.requests} == {"GET"}
    assert evp("types", "push", str(tmp_path / "schemas")).status == 0
    changes = [(each.method, each.path, json.loads(each.body)) for each in server.requests if each.method != "GET"]
    assert changes == [
        ("POST", "/api/v1/event-types", {"name": "billing/new", "schema": True, "validation": "warn"}),
        ("PATCH", "/api/v1/event-types/invoice.sent", {"schema": {"type": "array"}}),
    ]


def test_listen_forwards_until_it_is_taken_and_leaves_nothing_behind(
    evp: Evp, server: Server, platform: Client, tmp_path: Path
) -> None:
    secret, kind = generate_secret(), f"listen.{uuid.uuid4().hex}"
    server.script.extend([Answer(503), Answer(broken=True)])
    server.otherwise = lambda _: Answer(204, {})
    output = tmp_path / "output"
    environ = {**evp.environ, "EVP_URL": platform.settings.base_url, "EVP_API_KEY": platform.settings.api_key}
    command = [*EVP, "listen", "--forward", f"{server.url}/hook", "--types", kind, "--secret", secret, "--json"]
    with output.open("w") as file, subprocess.Popen(command, env=environ, stdout=file, stderr=file) as process:
        wait_for(lambda: secret in output.read_text())
        (inbox,) = [each for each in platform.subscriptions.list(kind="inbox") if each.event_types == [kind]]
        sent = platform.events.send(kind, Raw(b'{"b":1.10,"a":2}'))
        wait_for(lambda: '"outcome":"204"' in output.read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, output.read_text()
    assert [request.headers["webhook-id"] for request in server.requests] == [sent.id] * 3
    for request in server.requests:
        assert verify_webhook(request.body, request.headers, secret)["type"] == kind
    assert b'"data":{"b":1.10,"a":2}' in server.requests[-1].body
    with pytest.raises(ProblemError, match="not_found"):
        platform.subscriptions.get(inbox.id)


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)
