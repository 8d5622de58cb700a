"""What a person needs to know once the platform runs."""

import json

from events_platform.up.data_dir import DataDir
from events_platform.up.errors import UpError
from events_platform.version import VERSION, revision

_EVENT = '{"type": "invoice.paid", "data": {"amount": 12900}}'


def banner(data: DataDir, public_url: str) -> str:
    """The addresses, the logins of the demo, and a curl line that works as pasted."""
    try:
        demo: dict[str, str] = json.loads(data.demo.read_text())
    except (OSError, ValueError) as error:
        raise UpError(f"Cannot read {data.demo} ({error}).") from error
    curl = (
        f"curl -sS {demo['base_url']}/api/v1/events -H 'Authorization: Bearer {demo['api_key']}'"
        f" -H 'Content-Type: application/json' -d '{_EVENT}'"
    )
    lines = [
        "",
        f"  Version    {VERSION} ({revision()})",
        f"  Console    {public_url}/console/",
        f"  Admin      {public_url}/admin/",
        f"  Health     {public_url}/health/ready",
        "",
        f"  Login      {demo['admin_username']} / {demo['admin_password'] or '(the password you chose)'}",
        f"  API key    {demo['api_key']}  (organization {demo['organization']})",
        f"  Also in    {data.demo}",
        "",
        "  Send an event:",
        f"  {curl}",
        "",
        "  Ctrl-C stops everything; the data stays.",
        "",
    ]
    return "\n".join(lines)
