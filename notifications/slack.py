"""Notices in Slack, or in whatever takes Slack's incoming webhooks: `{"text": …}` to an address of the organization's.

A worker posts it, through the same guard as every webhook, never a request. Once an hour for each kind, as mails.
"""

import asyncio
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from django.db import transaction

from core.problems import invalid
from core.secrets import decrypt_secret, encrypt_secret
from delivery.webhooks.guard import NetworkPolicy, UnsafeUrl, check_destination
from delivery.webhooks.sending import AttemptResult, WebhookSender
from delivery.webhooks.webhook_requests import WebhookRequest
from ingestion.models import Event
from notifications.models import SlackChannel
from notifications.notice_mails import words_of
from organizations.audit import Actor, record
from organizations.models import Organization

# Slack answers within a second; the worker that waits also processes events.
_SECONDS = 5.0
WELCOME = (
    "From now on the notices of {name} come here: dead letters, disabled subscriptions, certificates that end, limits."
)


class NotPostedError(OSError):
    """The channel did not take it; it may be tried again."""


def set_slack_channel(*, organization: Organization, url: str, actor: Actor) -> None:
    """Post there from now on; nowhere, when `url` is empty. Raises Problem 422.

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
            fresh = {"url": encrypt_secret(url), "posted_at": None, "last_error": ""}
            SlackChannel.objects.update_or_create(organization=organization, defaults=fresh)
        elif not rows.delete()[0]:
            return
        record(actor=actor, action="organization.slack_changed", target=organization, organization=organization,
               changes={"slack channel": "set" if url else "removed"})  # fmt: skip


def host_of(channel: SlackChannel) -> str:
    """What of the address may be shown."""
    return urlsplit(decrypt_secret(channel.url)).hostname or ""


def post_welcome(*, organization_id: UUID, now: datetime) -> bool:
    """Say there that it works; returns whether there is a channel. Raises NotPostedError."""
    channel = SlackChannel.objects.for_organization(organization_id).select_related("organization").first()
    if channel is None:
        return False
    _post(channel, _escaped(WELCOME.format(name=channel.organization.name)), now)
    return True


def post_notice(event: Event, *, now: datetime) -> bool:
    """Post what the mail says, too; returns whether there is a channel. Raises NotPostedError."""
    channel = SlackChannel.objects.for_organization(event.organization_id).first()
    if channel is None:
        return False
    subject, text = words_of(event)
    _post(channel, f"*{_escaped(subject)}*\n{_escaped(text.strip())}", now)
    return True


def _post(channel: SlackChannel, text: str, now: datetime) -> None:
    body = msgspec.json.encode({"text": text})
    headers = {"Content-Type": "application/json"}
    url = decrypt_secret(channel.url)
    result = asyncio.run(_send(WebhookRequest(url=url, headers=headers, body=body, timeout_seconds=_SECONDS)))
    rows = SlackChannel.objects.filter(pk=channel.pk)
    if not result.delivered:
        rows.update(last_error=result.detail[:300])
        raise NotPostedError("a notice was not posted")
    rows.update(posted_at=now, last_error="")


async def _send(request: WebhookRequest) -> AttemptResult:
    async with WebhookSender.from_settings() as sender:
        return await sender.send(request)


def _escaped(text: str) -> str:
    """What Slack takes for markup: https://api.slack.com/reference/surfaces/formatting#escaping."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
