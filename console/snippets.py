"""Ready-made commands: the first event, and an event once more."""

import json
import shlex

from django.conf import settings

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
