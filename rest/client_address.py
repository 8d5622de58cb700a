"""Where a request comes from."""

from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str | None:
    """The connection's own address or, behind TRUSTED_PROXIES proxies, the one that the outermost of them saw.

    Each proxy appends its peer to X-Forwarded-For, so only as many entries as there are proxies are true, from the
    right: what stands before them can be written by anyone.
    """
    proxies = settings.TRUSTED_PROXIES
    seen = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    address = seen[-proxies] if proxies and len(seen) >= proxies else ""
    return _valid(address) or _valid(request.META.get("REMOTE_ADDR", ""))


def _valid(text: str) -> str | None:
    try:
        return str(ip_address(text.strip()))
    except ValueError:
        return None
