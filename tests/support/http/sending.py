"""Sends events to a running server and writes down what was acknowledged: `python -m tests.support.http.sending`.

Reads a JSON job from standard input, prints JSON lines: `[status, id or null, idempotency key or null]`. A request
that failed or got a 503 is sent again when the job says so, as an honest client does.
"""

import json
import sys
import time
from http.client import HTTPException
from typing import Any

from tests.support.http.clients import Client


def main() -> None:
    job = json.loads(sys.stdin.readline())
    client = Client(job["base_url"], job["key"])
    deadline = time.monotonic() + job["seconds"]
    bodies = [{"type": "t", "data": key, "idempotency_key": key} for key in job["keys"]] or [{"type": "t", "data": 1}]
    number = 0
    while time.monotonic() < deadline and (not job["keys"] or number < len(bodies)):
        body = bodies[number % len(bodies)]
        try:
            reply = client.post("/api/v1/events", body)
        except (OSError, HTTPException):
            client.close()
            _say(None, None, body)
            if not job["again"]:
                return
            time.sleep(0.05)
            continue
        if reply.status == 503 and job["again"]:
            time.sleep(0.05)
            continue
        number += 1
        _say(reply.status, reply.json().get("id"), body)


def _say(status: int | None, event_id: str | None, body: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps([status, event_id, body.get("idempotency_key")]) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
