"""What `manage.py check --deploy` looks at beside Django's own checks: whose word the platform takes for a client's."""

import os
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004 - Django's name

from installation.doctor.places import is_here


@register(Tags.security, deploy=True)
def check_proxy_is_known(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """An https address means a proxy, for the web server ends no TLS."""
    if not settings.HTTPS or settings.TRUSTED_PROXIES:
        return []
    return [
        Warning(
            "PUBLIC_URL is https, which a proxy in front must terminate, but TRUSTED_PROXIES is 0: what the proxy says "
            "about clients is not read. Every request looks as if it came from the proxy, and by plain HTTP.",
            hint="Set TRUSTED_PROXIES to the number of proxies in front, 1 for a single nginx or Caddy.",
            id="events_platform.W001",
        )
    ]


@register(Tags.security, deploy=True)
def check_proxy_is_there(app_configs: Any, **kwargs: Any) -> Sequence[CheckMessage]:
    """With an https address a network may well keep all others from the port; with http nothing speaks for a proxy."""
    if settings.HTTPS or not settings.TRUSTED_PROXIES or is_here(os.environ.get("HOST", "")):
        return []
    return [
        Warning(
            "TRUSTED_PROXIES is above 0, but PUBLIC_URL is http and HOST is no loopback address: whoever reaches the "
            "web server's port can claim any address, and that its plain HTTP was encrypted.",
            hint="Set PUBLIC_URL to the proxy's https address; without a proxy, set TRUSTED_PROXIES to 0.",
            id="events_platform.W002",
        )
    ]
