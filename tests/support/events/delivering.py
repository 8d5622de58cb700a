"""Events that are accepted, webhooks that want them, and what has arrived."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db import connections

from core.ports import SyncDatabase, run_now
from core.ports.asynchronous import SingleDatabase
from core.secrets import encrypt_secret
from delivery.models import (
    Delivery,
    Subscription,
    SubscriptionKind,
    SubscriptionStatus,
)
from delivery.webhooks.sender import Sender
from delivery.webhooks.sending import WebhookSender
from delivery.webhooks.signing import generate_secret
from ingestion.formats.decoding import DecodedEvent
from ingestion.intake.storing import Incoming, store
from ingestion.operations import process_outbox
from organizations.models import Organization

SECRET = generate_secret()


def store_events(organization: Organization, count: int) -> set[str]:
    """The ids of so many hundreds of events that were accepted, and still wait to be processed."""
    event = DecodedEvent(type="t", data='{"n": 1}', source=None, subject=None, time=None, idempotency_key=None)
    ids: set[str] = set()
    for _ in range(count // 100):
        incoming = [Incoming(organization.pk, event) for _ in range(100)]
        run_now(store(SyncDatabase(), incoming))
        ids |= {str(one.id) for one in incoming}
    return ids


def received(address: str) -> list[str]:
    """The ids of what has arrived at a `receiver_process`, each as often as it came."""
    with urllib.request.urlopen(f"{address}/_/received", timeout=30) as answer:
        ids: list[str] = json.load(answer)["ids"]
        return ids


def delivered(organization: Organization) -> int:
    return Delivery.objects.filter(organization=organization, status="delivered").count()


def webhook(organization: Organization, url: str, **values: Any) -> Subscription:
    """One that wants every event, signed with `SECRET`."""
    return Subscription.objects.create(
        organization=organization,
        kind=SubscriptionKind.WEBHOOK,
        url=url,
        secret=encrypt_secret(SECRET),
        **{"headers": {}, "event_types": ["*"], "status": SubscriptionStatus.ACTIVE, **values},
    )


def accept(organization: Organization, count: int = 1, data: str = '{"amount": 1}') -> list[UUID]:
    """The ids of events that were accepted and processed, so that their deliveries are due."""
    event = DecodedEvent(type="invoice.paid", data=data, source=None, subject=None, time=None, idempotency_key=None)
    incoming = [Incoming(organization.pk, event) for _ in range(count)]
    run_now(store(SyncDatabase(), incoming))
    process_outbox()
    return [one.id for one in incoming]


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Its connection of Django's ends with it: the database is removed after the tests."""

    def run() -> Any:
        try:
            return function(*arguments)
        finally:
            connections.close_all()

    return await asyncio.to_thread(run)


def send_due(until: Callable[[], bool] = lambda: False, *, is_roused: bool = False) -> int:
    """By a new sender, until nothing is due, or earlier; `is_roused`: until then, whenever the sender asks for it."""

    async def run() -> int:
        database = SingleDatabase()
        async with WebhookSender.from_settings() as webhooks:
            roused = asyncio.Event()
            sender = Sender(database, webhooks, rouse=roused.set)
            running = asyncio.create_task(sender.run())
            while not await in_thread(until) and (is_roused or not running.done()):
                if running.done() and roused.is_set():
                    roused.clear()
                    running = asyncio.create_task(sender.run())
                await asyncio.sleep(0.01)
            sender.stop()
            try:
                return await running
            finally:
                await database.close()

    return asyncio.run(run())
