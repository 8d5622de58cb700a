"""What a person needs to know once the platform runs."""

import json

from core.version import VERSION, revision
from installation.local.data_dir import DataDir
from installation.local.errors import UpError

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
    return _around(
        public_url,
        f"  Login      {demo['admin_username']} / {demo['admin_password'] or '(the password you chose)'}",
        f"  API key    {demo['api_key']}  (organization {demo['organization']})",
        f"  Also in    {data.demo}",
        "",
        "  Send an event:",
        f"  {curl}",
    )


def first_login(data: DataDir) -> tuple[str, str] | None:
    """Name and password that `bootstrap_admin` left; None without a file that tells them, as no start needs it."""
    try:
        login: dict[str, str] = json.loads(data.admin.read_text())
        return login["admin_username"], login["admin_password"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def banner_without_demo(data: DataDir, public_url: str, *, known: tuple[str, str] | None) -> str:
    """The addresses, and how to go on; the password only when `known`, the login before this start, was another."""
    login = first_login(data)
    if login is None:
        logins = ["  Login      an existing administrator"]
    elif login == known:
        logins = [f"  Login      {login[0]} (the first password is in {data.admin})"]
    else:
        logins = [f"  Login      {login[0]} / {login[1]}", f"  Also in    {data.admin}"]
    return _around(
        public_url,
        *logins,
        "",
        "  Create an organization and its API key:",
        "  python manage.py create_organization acme --plan pro",
        "  python manage.py issue_key acme",
    )


def _around(public_url: str, *lines: str) -> str:
    """`lines` between what every banner says."""
    return "\n".join(
        [
            "",
            f"  Version    {VERSION} ({revision()})",
            f"  Console    {public_url}/console/",
            f"  Admin      {public_url}/admin/",
            f"  Health     {public_url}/health/ready",
            "",
            *lines,
            "",
            "  Ctrl-C stops everything; the data stays.",
            "",
        ]
    )
