"""The part of the settings that says how the REST API and its description work; nothing in it is for operators."""

from typing import Any

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["organizations.keys.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["organizations.keys.authentication.HasScope", "rest.lists.KnownParameters"],
    "DEFAULT_RENDERER_CLASSES": ["rest.rendering.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest.parsing.JSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "rest.rendering.AlwaysJSON",
    "DEFAULT_SCHEMA_CLASS": "rest.openapi.document.DocumentedView",
    "EXCEPTION_HANDLER": "rest.problems.exception_handler",
    "DEFAULT_METADATA_CLASS": None,
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "OAS_VERSION": "3.1.1",
    "TITLE": "Events platform",
    "VERSION": "1",
    "DESCRIPTION": (
        "Send events, read them, and let consumers take them from inboxes.\n\n"
        "Authenticate with an API key. Every error is a problem document (RFC 9457) with a stable `code`. "
        "Times are RFC 3339 in UTC with microseconds, ids are UUIDv7. A field or parameter that an endpoint does not "
        "have is a 422 that names it."
    ),
    "CONTACT": {"name": "The people who run this platform"},
    "LICENSE": {"name": "MIT", "identifier": "MIT"},
    "SERVERS": [{"url": "/", "description": "The platform that serves this document."}],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "POSTPROCESSING_HOOKS": ["rest.openapi.document.add_shared_components"],
    "TAGS": [
        {"name": "events", "description": "Send and read events."},
        {"name": "event-types", "description": "Describe types of events, and validate events by JSON Schema."},
        {"name": "subscriptions", "description": "Have events delivered to webhooks, or held in inboxes."},
        {"name": "deliveries", "description": "See what became of an event at one subscription, and try again."},
        {"name": "inbox", "description": "Take events from an inbox."},
        {"name": "replays", "description": "Deliver old events again."},
        {"name": "api-keys", "description": "Manage the organization's API keys."},
        {"name": "jobs", "description": "Watch and cancel what is done for many events at once."},
        {"name": "portal-links", "description": "Let your own customers see and manage their subscriptions."},
        {"name": "organization", "description": "Plan, limits and usage."},
    ],
}
