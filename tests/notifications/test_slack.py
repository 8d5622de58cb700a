"""Notices in an organization's Slack channel: posted by a sweep, through the guard, once an hour for each kind."""

import json
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from unittest import mock

import pytest
import time_machine
from uuid_utils.compat import uuid7

from delivery.webhooks.webhook_requests import WebhookRequest
from ingestion.models import Event
from notifications import slack, tasks
from notifications.models import NoticeKind, SlackChannel
from notifications.notices import announce, post_notice
from notifications.slack import post_due, set_slack_channel
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


def listen(organization: Organization, url: str) -> None:
    with time_machine.travel(NOW, tick=False):
        set_slack_channel(organization=organization, url=url, actor=TESTER)


def texts(channel: Receiver) -> list[str]:
    return [json.loads(each.body)["text"] for each in channel.received]


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
    with time_machine.travel(NOW, tick=False):
        assert owner.post(path, {"url": f"{channel.url}/ok/secret-part"}).status_code == 302
    assert channel.received == []  # nothing in a request
    assert post_due(now=NOW) == 1
    with mock.patch(SEND_TASK) as sent, django_capture_on_commit_callbacks(execute=True):
        event = announce_dead_letter(organization)
    assert mock.call("notifications.post_notice", kwargs={"event_id": str(event.pk)}) in sent.call_args_list
    assert post_notice(event_id=event.pk, now=NOW)
    assert len(channel.received) == 1  # nothing in the task of an event either
    assert post_due(now=NOW) == 1
    welcome, told = texts(channel)
    assert "notices of Harbour &amp; Books" in welcome
    assert told.startswith("*An event could not be delivered (&lt;Shop&gt;): Harbour &amp; Books*")
    assert "https://events.example.com/console/o/" in told
    assert "Why did I get this" not in told
    assert not post_notice(event_id=event.pk, now=NOW)  # a task that runs twice
    assert not post_notice(event_id=announce_dead_letter(organization).pk, now=NOW)  # another one of that hour
    assert post_due(now=NOW) == 0
    assert post_notice(event_id=announce_dead_letter(organization, NOW + timedelta(hours=1)).pk, now=NOW)
    page = owner.get(path).content.decode()
    assert "127.0.0.1" in page
    assert "secret-part" not in page
    assert "secret-part" not in SlackChannel.objects.get().url
    assert "secret-part" not in str(list(AuditEntry.objects.values()))


def test_saves_and_messages_in_a_row_are_one_post(organization: Organization, channel: Receiver) -> None:
    """Also messages of the release before: they leave what is due in the row, and post nothing."""
    for _ in range(3):
        listen(organization, f"{channel.url}/ok")
        tasks.post_welcome(organization_id=str(organization.pk))
        tasks.post_notice(event_id=str(announce_dead_letter(organization).pk))
    assert SlackChannel.objects.count() == 1
    assert channel.received == []
    assert [post_due(now=NOW), post_due(now=NOW)] == [1, 0]
    (told,) = texts(channel)
    assert (told.count("notices of Harbour"), told.count("*An event could not")) == (1, 1)


def test_a_channel_that_does_not_take_it_is_put_off_longer_and_longer_and_given_up(
    organization: Organization, channel: Receiver
) -> None:
    listen(organization, f"{channel.url}/status/503")
    owner = browser_of(make_member(organization, Role.OWNER))
    waits = []
    while (row := SlackChannel.objects.get()).due_at is not None:
        waits.append((row.due_at - NOW).total_seconds())
        assert post_due(now=row.due_at - timedelta(seconds=1)) == 0
        assert post_due(now=row.due_at) == 0
        assert len(channel.received) == len(waits)
        # More to tell makes it no sooner.
        post_notice(event_id=announce_dead_letter(organization).pk, now=row.due_at)
        page = owner.get(f"/console/o/{organization.slug}/notices/").content.decode()
        assert ("It is tried again" in page, "It was given up" in page) == (len(waits) < 5, len(waits) == 5)
    assert waits == [0, 60, 180, 420, 900]
    assert "503" in row.last_error
    assert row.pending == {}
    # What comes later is told, at an address that takes it.
    post_notice(event_id=announce_dead_letter(organization, NOW + timedelta(hours=1)).pk, now=NOW)
    channel.behave("/status/503", "ok")
    assert post_due(now=NOW) == 1
    row.refresh_from_db()
    assert (row.posted_at, row.last_error, row.attempts) == (NOW, "", 0)


def test_a_slow_channel_and_a_broken_one_hold_up_nobody_elses(
    organization: Organization, channel: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a round are posted at once: these answer only once all of them have arrived."""
    monkeypatch.setattr("notifications.slack._SECONDS", 60.0)
    others = [make_organization(), make_organization()]
    broken, suspended = make_organization(), make_organization()
    for each in (organization, *others):
        listen(each, f"{channel.url}/together/3")
    for each in (broken, suspended):
        listen(each, f"{channel.url}/ok")
    SlackChannel.objects.filter(pk=broken.pk).update(url="no ciphertext")
    Organization.objects.filter(pk=suspended.pk).update(suspended_at=NOW)
    assert post_due(now=NOW) == 3
    assert {each.path for each in channel.received} == {"/together/3"}
    assert SlackChannel.objects.get(pk=broken.pk).last_error == "The message could not be written."
    Organization.objects.filter(pk=suspended.pk).update(suspended_at=None)
    assert post_due(now=NOW) == 1


def test_a_round_has_a_bound_and_begins_with_those_that_waited_longest(
    organization: Organization, channel: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifications.slack.CHANNELS_AT_ONCE", 1)
    listen(make_organization(), f"{channel.url}/ok")
    listen(organization, f"{channel.url}/status/503")
    SlackChannel.objects.filter(pk=organization.pk).update(due_at=NOW - timedelta(seconds=1))
    assert [post_due(now=NOW), post_due(now=NOW)] == [0, 1]
    assert [each.path for each in channel.received] == ["/status/503", "/ok"]


def test_an_address_that_is_saved_while_a_message_is_under_way_gets_its_own(
    organization: Organization, channel: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    post_all = slack._post_all

    def save_and_post(requests: list[WebhookRequest]) -> Coroutine[Any, Any, list[str]]:
        listen(organization, f"{channel.url}/status/204")
        return post_all(requests)

    listen(organization, f"{channel.url}/ok")
    with monkeypatch.context() as patched:
        patched.setattr(slack, "_post_all", save_and_post)
        post_due(now=NOW)
    assert SlackChannel.objects.get().posted_at is None
    assert post_due(now=NOW) == 1
    assert [each.path for each in channel.received] == ["/ok", "/status/204"]


def test_an_address_inside_is_refused_and_no_channel_is_no_fault(organization: Organization, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    owner = browser_of(make_member(organization, Role.OWNER))
    path = f"/console/o/{organization.slug}/notices/"
    assert owner.post(path, {"url": "http://127.0.0.1/x"}).status_code == 422
    assert owner.post(path, {"url": ""}).status_code == 302
    tasks.post_welcome(organization_id=str(organization.pk))
    assert not SlackChannel.objects.exists()
    assert not post_notice(event_id=announce_dead_letter(organization).pk, now=NOW)
    assert post_due(now=NOW) == 0
