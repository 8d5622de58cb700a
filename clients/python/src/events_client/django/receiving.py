"""Receiving webhooks: one view for all, and handlers by type."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from events_client.django.conf import configured
from events_client.errors import WebhookVerificationError
from events_client.webhooks import verify_webhook

logger = logging.getLogger("events_client")

Handler = Callable[[dict[str, Any]], object]
_handlers: list[tuple[str, Handler]] = []


def on(*patterns: str) -> Callable[[Handler], Handler]:
    """Have a function called with each event of these types; a trailing `*` stands for every type that starts so.

    The event is a dict with `id`, `type`, `timestamp` and `data`. It may come twice: do its work once for each id. When
    the function raises, the platform hears a 500 and sends the event again later, to all handlers of its type.
    """

    def register(handler: Handler) -> Handler:
        _handlers.extend((pattern, handler) for pattern in patterns)
        return handler

    return register


@csrf_exempt
@require_POST
def receive(request: HttpRequest) -> HttpResponse:
    """The view for the webhook's URL: 204 when all handlers returned, 400 for what is not genuine."""
    secrets = configured("WEBHOOK_SECRETS")
    if not secrets:
        raise ImproperlyConfigured("EVENTS_CLIENT needs WEBHOOK_SECRETS: the whsec_… of the subscription")
    try:
        event = verify_webhook(request.body, request.headers, secrets)
    except WebhookVerificationError as error:
        logger.warning("a request that is no genuine webhook was refused: %s", error)
        return HttpResponse(str(error), status=400, content_type="text/plain")
    for handler in handlers_of(str(event["type"])):
        handler(event)
    return HttpResponse(status=204)


def handlers_of(event_type: str) -> list[Handler]:
    """The handlers of a type, each once, in the order of their registration."""
    found = [handler for pattern, handler in _handlers if _matches(pattern, event_type)]
    return list(dict.fromkeys(found))


def _matches(pattern: str, event_type: str) -> bool:
    if pattern.endswith("*"):
        return event_type.startswith(pattern[:-1])
    return event_type == pattern
