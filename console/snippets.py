"""Ready-made commands: the first event, an event or an attempt once more, and checks of a signature."""

import json
import shlex

from django.conf import settings

from delivery.api.delivery_schemas import AttemptShown
from ingestion.models import Event

# A longer command line is no help to anyone, and some shells refuse it.
MAX_CURL_DATA = 16_000


def first_event_snippets(key_hint: str) -> list[tuple[str, str]]:
    """`(language, code)`; the key itself is never known here, so it is read from `$API_KEY`."""
    url = f"{settings.PUBLIC_URL}/api/v1/events"
    curl = f"""export API_KEY={key_hint}
curl {url} \\
  -H "Authorization: Bearer $API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{{"type": "invoice.paid", "data": {{"amount": 12900}}}}'"""
    python = f"""import json, os, urllib.request

request = urllib.request.Request(
    "{url}",
    data=json.dumps({{"type": "invoice.paid", "data": {{"amount": 12900}}}}).encode(),
    headers={{"Authorization": f"Bearer {{os.environ['API_KEY']}}", "Content-Type": "application/json"}},
)
print(urllib.request.urlopen(request).read().decode())"""
    javascript = f"""const answer = await fetch("{url}", {{
  method: "POST",
  headers: {{ Authorization: `Bearer ${{process.env.API_KEY}}`, "Content-Type": "application/json" }},
  body: JSON.stringify({{ type: "invoice.paid", data: {{ amount: 12900 }} }}),
}});
console.log(answer.status, await answer.json());"""
    return [("curl", curl), ("Python", python), ("JavaScript", javascript)]


def event_as_curl(event: Event) -> str:
    """A command that sends the event again as a new one: without its idempotency key."""
    body: dict[str, object] = {"type": event.type}
    for name in ("source", "subject"):
        if (value := getattr(event, name)) is not None:
            body[name] = value
    members = json.dumps(body, ensure_ascii=False)[:-1]
    is_long = len(event.data) > MAX_CURL_DATA
    data = "@event.json" if is_long else shlex.quote(f'{members}, "data": {event.data}}}')
    return "\n".join(
        [
            f"curl {settings.PUBLIC_URL}/api/v1/events \\",
            '  -H "Authorization: Bearer $API_KEY" \\',
            '  -H "Content-Type: application/json" \\',
            f"  --data-raw {data}" if not is_long else f"  --data-binary {data}",
        ]
    )


def attempt_as_curl(attempt: AttemptShown, body: bytes) -> str:
    """The request of an attempt once more: what its subscription added is masked, to be filled in."""
    left_out = {"host", "content-length", "accept", "accept-encoding"}
    headers = [
        f"  -H {shlex.quote(f'{name}: {value}')} \\"
        for name, value in (attempt.request_headers or {}).items()
        if name.lower() not in left_out
    ]
    data = shlex.quote(body.decode()) if len(body) <= MAX_CURL_DATA else "@body.json"
    return "\n".join([f"curl -i {shlex.quote(attempt.url or '')} \\", *headers, f"  --data-binary {data}"])


def checks_of_signature(message_id: str, timestamp: str) -> list[tuple[str, str]]:
    """`(tool, commands)` that compute a `v1` signature from body.json and the secret in `$WEBHOOK_SECRET`."""
    openssl = f"""KEY=$(printf %s "${{WEBHOOK_SECRET#whsec_}}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \\n')
{{ printf %s '{message_id}.{timestamp}.'; cat body.json; }} \\
  | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$KEY" -binary | openssl base64 -A"""
    python = f"""import base64, hmac, os
key = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
signed = b"{message_id}.{timestamp}." + open("body.json", "rb").read()
print(base64.b64encode(hmac.digest(key, signed, "sha256")).decode())"""
    return [("openssl", openssl), ("Python", python)]
