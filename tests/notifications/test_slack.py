"""Notices in an organization's Slack channel: posted by workers, through the guard, once an hour for each kind."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from unittest import mock

import pytest
from uuid_utils.compat import uuid7

from ingestion.models import Event
from notifications.models import NoticeKind, SlackChannel
from notifications.notices import announce, post_notice
from notifications.slack import NotPostedError, post_welcome, set_slack_channel
from organizations.models import AuditEntry, Organization, Role
from tests.factories import TESTER, make_organization, make_webhook
from tests.support.http.receiver import Receiver, receiving
from tests.support.people.console_data import browser_of, make_member

NOW = datetime(2026, 11, 24, 12, 34, 56, tzinfo=UTC)
SEND_TASK = "notifications.notices.current_app.send_task"


@pytest.fixture
def organization(db: None, settings: Any) -> Organization:
    settings.WEBHOOK_ALLOW_HTTP = True
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    settings.PUBLIC_URL = "https://events.example.com"
    return make_organization(name="Harbour & Books")


@pytest.fixture
def channel() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def announce_dead_letter(organization: Organization, now: datetime = NOW) -> Event:
    webhook = make_webhook(organization, name="<Shop>")
    delivery_id = str(uuid7())
    data = {"delivery_id": delivery_id, "subscription_id": str(webhook.pk), "event_id": str(uuid7()), "attempts": 10,
            "event_type": "order.paid", "last_error": "timeout"}  # fmt: skip
    kind = NoticeKind.DEAD_LETTER
    announce(organization_id=organization.pk, kind=kind, subject=delivery_id, data=data, now=now)
    return Event.objects.for_organization(organization.pk).latest("id")


def test_it_works(organization: Organization, channel: Receiver, django_capture_on_commit_callbacks: Any) -> None:
    owner = browser_of(make_member(organization, Role.OWNER))
    path = f"/console/o/{organization.slug}/notices/"
    with mock.patch(SEND_TASK) as sent:
        assert owner.post(path, {"url": f"{channel.url}/ok/secret-part"}).status_code == 302
    assert sent.call_args == mock.call("notifications.post_welcome", kwargs={"organization_id": str(organization.pk)})
    assert channel.received == []  # nothing in a request
    post_welcome(organization_id=organization.pk, now=NOW)
    with mock.patch(SEND_TASK) as sent, django_capture_on_commit_callbacks(execute=True):
        event = announce_dead_letter(organization)
    assert mock.call("notifications.post_notice", kwargs={"event_id": str(event.pk)}) in sent.call_args_list
    assert post_notice(event_id=event.pk, now=NOW)
    welcome, told = [json.loads(each.body)["text"] for each in channel.received]
    assert "notices of Harbour &amp; Books" in welcome
    assert told.startswith("*An event could not be delivered (&lt;Shop&gt;): Harbour &amp; Books*")
    assert "https://events.example.com/console/o/" in told
    assert "Why did I get this" not in told
    assert not post_notice(event_id=event.pk, now=NOW)  # a task that runs twice
    assert not post_notice(event_id=announce_dead_letter(organization).pk, now=NOW)  # another one of that hour
    assert post_notice(event_id=announce_dead_letter(organization, NOW + timedelta(hours=1)).pk, now=NOW)
    page = owner.get(path).content.decode()
    assert "127.0.0.1" in page
    assert "secret-part" not in page
    assert "secret-part" not in SlackChannel.objects.get().url
    assert "secret-part" not in str(list(AuditEntry.objects.values()))


def test_a_channel_that_does_not_take_it_is_tried_again_and_said(organization: Organization, channel: Receiver) -> None:
    set_slack_channel(organization=organization, url=f"{channel.url}/status/503", actor=TESTER)
    event = announce_dead_letter(organization)
    for _ in range(2):
        with pytest.raises(NotPostedError):
            post_notice(event_id=event.pk, now=NOW)
    assert "503" in SlackChannel.objects.get().last_error
    set_slack_channel(organization=organization, url=f"{channel.url}/ok", actor=TESTER)
    assert post_notice(event_id=event.pk, now=NOW)
    assert SlackChannel.objects.get().posted_at == NOW


def test_an_address_inside_is_refused_and_no_channel_is_no_fault(organization: Organization, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    owner = browser_of(make_member(organization, Role.OWNER))
    path = f"/console/o/{organization.slug}/notices/"
    assert owner.post(path, {"url": "http://127.0.0.1/x"}).status_code == 422
    assert owner.post(path, {"url": ""}).status_code == 302
    assert not SlackChannel.objects.exists()
    assert not post_notice(event_id=announce_dead_letter(organization).pk, now=NOW)
    assert not post_welcome(organization_id=organization.pk, now=NOW)
