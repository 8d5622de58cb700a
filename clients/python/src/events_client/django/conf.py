"""`EVENTS_CLIENT` of the project's settings."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

_NAMES = frozenset({"URL", "API_KEY", "WEBHOOK_SECRETS", "BUFFERED", "RETRY_SECONDS"})


def configured(name: str, default: Any = None) -> Any:
    """A setting of ours; ImproperlyConfigured names one that is mistyped."""
    chosen: dict[str, Any] = getattr(settings, "EVENTS_CLIENT", {})
    if unknown := chosen.keys() - _NAMES:
        raise ImproperlyConfigured(
            f"EVENTS_CLIENT has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(_NAMES))}"
        )
    return chosen.get(name, default)
