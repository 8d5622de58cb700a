"""Send demo traffic to the platform that runs here, and check that all of it arrives in the inbox."""

import http.client
import json
import os
import threading
import time
import uuid
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.core.management.base import BaseCommand, CommandError

from core.progress import progress_bar
from demo.demo_payloads import Payload, github_payloads
from installation.local.data_dir import DataDir

_THREADS = 8
_REQUEST_SECONDS = 30.0
# Together about half a minute: as long as a web server may take to come back.
_ATTEMPTS = 15
_LONGEST_PAUSE_SECONDS = 3.0
_ARRIVAL_SECONDS = 120.0
_POLL_SECONDS = 0.2
_PAGE = 1000
# Ids are UUIDv7: these characters are the milliseconds, and sort as text.
_TIME_OF_ID = len("018f0000-0000")
_RETRIABLE = {429, 503}


class Command(BaseCommand):
    help = "Send GitHub's example webhooks as events to the running platform, and wait until the inbox has them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--repeat", type=int, default=1, help="send everything this many times (default 1)")

    def handle(self, *_args: Any, repeat: int, **_options: Any) -> None:
        if repeat < 1:
            raise CommandError("--repeat must be 1 or more.")
        data = DataDir.from_environment(os.environ)
        payloads, origin = github_payloads(data.root / "demo-payloads")
        self.stdout.write(f"{len(payloads)} payloads: {origin}")
        try:
            demo = json.loads(data.demo.read_text())
            client = Client(base_url=demo["base_url"], api_key=demo["api_key"])
        except (OSError, ValueError, KeyError) as error:
            raise CommandError(f"Cannot read {data.demo} ({error}): start `make run` without DEMO=false.") from error
        started = time.monotonic()
        sent = send(client, payloads * repeat)
        self.stdout.write(f"{len(sent)} events acknowledged in {time.monotonic() - started:.1f} s")
        missing = wait_for_arrival(client, set(sent))
        self.stdout.write(_summary(sent, missing))
        if missing:
            raise CommandError(f"{len(missing)} of {len(sent)} events are not in the inbox.")


class Client:
    """The platform's REST API over kept-alive connections, one for each thread. Retries what may pass."""

    def __init__(self, *, base_url: str, api_key: str) -> None:
        self._address = urlsplit(base_url).netloc
        self._headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
        self._local = threading.local()

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer's JSON object; a `CommandError` for any other answer than a 2xx, or none at all."""
        content = None if body is None else json.dumps(body).encode()
        said = ""
        for attempt in range(_ATTEMPTS):
            connection = self._connection()
            try:
                connection.request(method, path, body=content, headers=self._headers)
                response = connection.getresponse()
                status, answer = response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()  # the next request opens it anew
                said = f"{type(error).__name__}: {error}"
            else:
                if 200 <= status < 300:
                    decoded: dict[str, Any] = json.loads(answer)
                    return decoded
                said = f"{status} {answer[:500].decode('utf-8', 'replace')}"
                if status not in _RETRIABLE:
                    break
            time.sleep(min(0.1 * 2**attempt, _LONGEST_PAUSE_SECONDS))
        raise CommandError(f"{method} {path}: {said}")

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPConnection(self._address, timeout=_REQUEST_SECONDS)
        return connection


def send(client: Client, payloads: list[Payload]) -> dict[str, str]:
    """Send each payload as an event; returns the type of each event by its id."""
    # The key makes a retried request harmless; the run's own prefix lets the next run send new events.
    run = uuid.uuid4().hex

    def post(number: int) -> tuple[str, str]:
        payload = payloads[number]
        event = {
            "type": payload.type,
            "data": payload.data,
            "source": "/github",
            "idempotency_key": f"demo-{run}-{number}",
        }
        return client.call("POST", "/api/v1/events", event)["id"], payload.type

    sent: dict[str, str] = {}
    with ThreadPoolExecutor(_THREADS) as threads, progress_bar("Sent", len(payloads)) as progress:
        answers = [threads.submit(post, number) for number in range(len(payloads))]
        try:
            for answer in answers:
                event_id, event_type = answer.result()
                sent[event_id] = event_type
                progress.show(len(sent))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return sent


def wait_for_arrival(client: Client, sent: set[str]) -> set[str]:
    """Poll the inbox until it has every id of `sent`; returns those that are missing at the deadline."""
    missing = set(sent)
    deadline = time.monotonic() + _ARRIVAL_SECONDS
    with progress_bar("Arrived", len(sent)) as progress:
        while True:
            missing -= _in_inbox(client, missing)
            progress.show(len(sent) - len(missing))
            if not missing or time.monotonic() > deadline:
                return missing
            time.sleep(_POLL_SECONDS)


def _in_inbox(client: Client, wanted: set[str]) -> set[str]:
    """Those of `wanted` that the inbox lists; pages, newest first, until only older events follow."""
    found: set[str] = set()
    oldest = min(wanted)[:_TIME_OF_ID]
    query: dict[str, str | int] = {"inbox": "default", "status": "pending", "limit": _PAGE}
    while True:
        page = client.call("GET", f"/api/v1/inbox?{urlencode(query)}")
        ids = [entry["id"] for entry in page["data"]]
        found |= wanted.intersection(ids)
        only_older = bool(ids) and ids[-1][:_TIME_OF_ID] < oldest
        if not page["next_cursor"] or found == wanted or only_older:
            return found
        query["cursor"] = page["next_cursor"]


def _summary(sent: Mapping[str, str], missing: set[str]) -> str:
    """How many of each type arrived, out of how many."""
    expected = Counter(sent.values())
    lost = Counter(sent[event_id] for event_id in missing)
    width = max(len(name) for name in expected)
    lines = [f"  {name:<{width}}  {number - lost[name]} of {number}" for name, number in sorted(expected.items())]
    return "\n".join([*lines, f"{len(sent) - len(missing)} of {len(sent)} events are in the inbox"])
