"""Notices in Slack, or in whatever takes Slack's incoming webhooks: `{"text": …}` to an address of the organization's.

What is to be posted waits in the channel's row: one notice of each kind, as there is one an hour at most. A sweep posts
it, through the same guard as every webhook, in one round of many channels, each with one message. So one that is slow,
or whose address is saved again and again, costs the others nothing, and a worker some seconds a sweep.
"""

import asyncio
import logging
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from django.db import transaction
from django.utils import timezone

from core.postgresql.faults import is_passing
from core.problems import invalid
from core.secrets import decrypt_secret, encrypt_secret
from delivery.webhooks.guard import NetworkPolicy, UnsafeUrl, check_destination
from delivery.webhooks.sending import WebhookSender
from delivery.webhooks.webhook_requests import WebhookRequest
from ingestion.models import Event
from notifications.models import SlackChannel
from notifications.notice_mails import words_of
from organizations.audit import Actor, record
from organizations.models import Organization

logger = logging.getLogger(__name__)
# Slack answers within a second.
_SECONDS = 5.0
# Of a round: an answer has up to 20 KiB.
CHANNELS_AT_ONCE = 100
# After each try that failed; after the last one it is given up: a quarter of an hour in all.
_WAITS = (60, 120, 240, 480, 600)
WELCOME = "welcome"
_WELCOME_TEXT = (
    "From now on the notices of {name} come here: dead letters, disabled subscriptions, certificates that end, limits."
)


def set_slack_channel(*, organization: Organization, url: str, actor: Actor) -> None:
    """Post there from now on, first that it works; nowhere, when `url` is empty. Raises Problem 422 or 429.

    Its host is resolved, so call it outside of a transaction.
    """
    if url:
        try:
            check_destination(url, NetworkPolicy.from_settings())
        except UnsafeUrl as error:
            raise invalid("/url", "unsafe_url", error.reason) from error
    with transaction.atomic():
        rows = SlackChannel.objects.for_organization(organization.pk)
        if url:
            now = timezone.now()
            fresh = {"url": encrypt_secret(url), "posted_at": None, "last_error": "", "due_at": now, "attempts": 0}
            SlackChannel.objects.update_or_create(organization=organization, defaults=fresh)
            request_welcome(organization_id=organization.pk, now=now)
        elif not rows.delete()[0]:
            return
        record(actor=actor, action="organization.slack_changed", target=organization, organization=organization,
               changes={"slack channel": "set" if url else "removed"})  # fmt: skip


def host_of(channel: SlackChannel) -> str:
    """What of the address may be shown."""
    return urlsplit(decrypt_secret(channel.url)).hostname or ""


def request_welcome(*, organization_id: UUID, now: datetime) -> None:
    """Have it said in the organization's channel, if there is one, that it works."""
    _request(organization_id, WELCOME, "", now)


def request_post(event: Event, *, now: datetime) -> None:
    """Have a notice posted; one of its kind that still waits, from an hour before, is not told any more."""
    _request(event.organization_id, event.type, str(event.pk), now)


@transaction.atomic
def _request(organization_id: UUID, what: str, event_id: str, now: datetime) -> None:
    """A channel that is put off stays so."""
    rows = SlackChannel.objects.for_organization(organization_id).select_for_update(no_key=True)
    if (channel := rows.first()) is not None:
        channel.pending[what] = event_id
        channel.due_at = channel.due_at or now
        channel.save(update_fields=["pending", "due_at"])


def post_due(*, now: datetime) -> int:
    """Post what is due, in one round that lasts no longer than one post may; returns how many channels took it.

    Outside of a transaction. One that is killed meanwhile has its messages posted again a minute later.
    """
    told: list[tuple[SlackChannel, WebhookRequest]] = []
    for channel in _claim(now):
        try:
            request = _message(channel)
        except Exception as error:
            if is_passing(error):
                raise  # PostgreSQL's trouble, not the channel's
            logger.exception("a message to a Slack channel could not be written")
            _note(channel, "The message could not be written.", now)
        else:
            if request is None:
                _note(channel, "", now)
            else:
                told.append((channel, request))
    failures = asyncio.run(_post_all([request for _, request in told])) if told else []
    for (channel, _), failure in zip(told, failures, strict=True):
        _note(channel, failure, now)
    return failures.count("")


@transaction.atomic
def _claim(now: datetime) -> list[SlackChannel]:
    """Those that have waited longest; a suspended organization's wait."""
    due = SlackChannel.objects.filter(due_at__lte=now, organization__suspended_at=None)
    free = due.select_for_update(skip_locked=True, no_key=True, of=("self",)).select_related("organization")
    channels = list(free.order_by("due_at")[:CHANNELS_AT_ONCE])
    for channel in channels:
        channel.attempts += 1
        channel.due_at = now + timedelta(seconds=_WAITS[min(channel.attempts, len(_WAITS)) - 1])
    SlackChannel.objects.bulk_update(channels, ["attempts", "due_at"])
    return channels


def _message(channel: SlackChannel) -> WebhookRequest | None:
    """None when all that it would tell is gone."""
    name = channel.organization.name
    texts = [_escaped(_WELCOME_TEXT.format(name=name))] if WELCOME in channel.pending else []
    wanted = [event_id for event_id in channel.pending.values() if event_id]
    events = Event.objects.for_organization(channel.pk).filter(pk__in=wanted).select_related("organization")
    for event in events.order_by("pk"):
        subject, text = words_of(event)
        texts.append(f"*{_escaped(subject)}*\n{_escaped(text.strip())}")
    if not texts:
        return None
    return WebhookRequest(
        url=decrypt_secret(channel.url),
        headers={"Content-Type": "application/json"},
        body=msgspec.json.encode({"text": "\n\n".join(texts)}),
        timeout_seconds=_SECONDS,
    )


async def _post_all(requests: list[WebhookRequest]) -> list[str]:
    """Of each why it did not arrive; empty for what did."""
    async with WebhookSender.from_settings() as sender:
        results = await asyncio.gather(*(sender.send(request) for request in requests))
    return ["" if result.delivered else result.detail for result in results]


@transaction.atomic
def _note(channel: SlackChannel, failure: str, now: datetime) -> None:
    """What came of it, unless the address was saved anew meanwhile. What was told, or given up, waits no more."""
    rows = SlackChannel.objects.for_organization(channel.pk).filter(due_at=channel.due_at)
    row = rows.select_for_update(no_key=True).first()
    if row is None:
        return
    row.last_error = failure[:300]
    if not failure:
        row.posted_at = now
    if not failure or channel.attempts >= len(_WAITS):
        row.pending = {what: about for what, about in row.pending.items() if channel.pending.get(what) != about}
        row.due_at, row.attempts = (now if row.pending else None), 0
    row.save(force_update=True)


def _escaped(text: str) -> str:
    """What Slack takes for markup: https://api.slack.com/reference/surfaces/formatting#escaping."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
