"""A consumer of an inbox as a process of its own: `python -m tests.support.http.consuming`.

Reads a JSON job from standard input: `base_url`, `key`, `lease_seconds`, and `hang_after`, a number of rounds or null.
Leases and acknowledges until the inbox is empty; prints a JSON line for each lease, `["leased", ids]`, and for each
acknowledgement, `["acknowledged", ids]`. After `hang_after` rounds it leases once more, for two seconds, and does
nothing about it.
"""

import json
import sys
import time
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

HANGING_LEASE_SECONDS = 2


class Consumer:
    """Knows nothing of the platform but its API, so it starts quickly."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._connection = HTTPConnection(urlsplit(job["base_url"]).netloc, timeout=60)

    def run(self) -> None:
        rounds = 0
        while rounds != self._job["hang_after"]:
            leased = self._lease(self._job["lease_seconds"])
            if leased["events"]:
                rounds += 1
                self._ack(leased)
            elif not self._request("GET", "/api/v1/inbox?limit=1")["data"]:
                return
            else:
                time.sleep(0.2)
        self._lease(HANGING_LEASE_SECONDS)
        time.sleep(600)

    def _lease(self, seconds: int) -> Any:
        leased = self._request("POST", "/api/v1/inbox/lease", {"max": 100, "lease_seconds": seconds})
        _say("leased", [event["id"] for event in leased["events"]])
        return leased

    def _ack(self, leased: Any) -> None:
        ids = [event["id"] for event in leased["events"]]
        outcome = self._request("POST", "/api/v1/inbox/ack", {"event_ids": ids, "lease_id": leased["lease_id"]})
        _say("acknowledged", outcome["acknowledged"])

    def _request(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self._job['key']}", "Content-Type": "application/json"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {text!r}")
        return json.loads(text)


def _say(what: str, ids: list[str]) -> None:
    sys.stdout.write(json.dumps([what, ids]) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    Consumer(json.loads(sys.stdin.readline())).run()
