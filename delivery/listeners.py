"""Who hears of what befalls deliveries and subscriptions, in the transaction in which it happens, or after it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from core.registry import Registry


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A delivery that was given up; `event_type` is None when its event is gone.

    `error_detail` says in a sentence what `last_error` says in a word.
    """

    organization_id: UUID
    delivery_id: UUID
    subscription_id: UUID
    event_id: UUID
    event_type: str | None
    attempts: int
    last_error: str
    error_detail: str = ""


@dataclass(frozen=True, kw_only=True)
class DisabledWebhook:
    """A subscription that the platform itself has disabled, as its endpoint only fails; how it failed last."""

    organization_id: UUID
    subscription_id: UUID
    url: str
    reason: str
    last_error: str = ""
    error_detail: str = ""


class DeadLetterListener(Protocol):
    def __call__(self, letter: DeadLetter, *, now: datetime) -> None: ...


class DisabledWebhookListener(Protocol):
    def __call__(self, webhook: DisabledWebhook, *, now: datetime) -> None: ...


dead_letter_listeners: Registry[DeadLetterListener] = Registry()
disabled_webhook_listeners: Registry[DisabledWebhookListener] = Registry()


def tell_dead_letter(letter: DeadLetter, *, now: datetime) -> None:
    for listener in dead_letter_listeners:
        listener(letter, now=now)


def tell_disabled_webhook(webhook: DisabledWebhook, *, now: datetime) -> None:
    for listener in disabled_webhook_listeners:
        listener(webhook, now=now)
