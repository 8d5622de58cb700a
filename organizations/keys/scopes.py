"""What an API key may do."""

from enum import StrEnum


class Scope(StrEnum):
    EVENTS_WRITE = "events:write"
    EVENTS_READ = "events:read"
    INBOX_CONSUME = "inbox:consume"
    SUBSCRIPTIONS_MANAGE = "subscriptions:manage"
    KEYS_MANAGE = "keys:manage"
