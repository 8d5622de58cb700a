"""The page of issues: what is open, muted and resolved, of one organization alone."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from delivery.models import Issue, Subscription, SubscriptionStatus
from organizations.models import Role
from tests.conftest import Tenant
from tests.factories import make_organization
from tests.support.people.console_data import Scene, browser_of, make_issue, make_member, make_scene

pytestmark = pytest.mark.slow


@pytest.fixture
def scene(tenant: Tenant) -> Scene:
    return make_scene(tenant, events=1)


@pytest.fixture
def member(scene: Scene) -> Client:
    return browser_of(make_member(scene.organization, Role.MEMBER))


def test_an_issue_is_seen_muted_and_found_again(scene: Scene, member: Client) -> None:
    path = f"/console/o/{scene.organization.slug}/issues/"
    assert "No endpoint has failed" in member.get(path).content.decode()
    issue = make_issue(scene.dead)
    make_issue(scene.dead, error="timeout", status_code=0, resolved_at=timezone.now())
    page = member.get(path).content.decode()
    assert "It answers 503" in page
    assert "1\u202f240" in page
    assert f"/subscriptions/{scene.webhook.pk}/deliveries/{scene.dead.pk}/" in page
    assert "It does not answer in time" not in page
    assert "It does not answer in time" in member.get(path, {"state": "resolved"}).content.decode()
    saved = member.post(f"{path}{issue.pk}/", {"note": " <b>theirs</b>\x00 ", "mute": "24h"}, follow=True)
    assert saved.redirect_chain[0][0].endswith("?state=muted")
    assert "&lt;b&gt;theirs&lt;/b&gt;" in saved.content.decode()
    issue.refresh_from_db()
    assert issue.muted_until is not None
    assert timedelta(hours=23) < issue.muted_until - timezone.now() < timedelta(hours=25)
    assert "No open issue" in member.get(path).content.decode()
    member.post(f"{path}{issue.pk}/", {"note": "", "mute": "end"})
    assert "It answers 503" in member.get(path, {"state": "nonsense"}).content.decode()
    Subscription.objects.filter(pk=scene.webhook.pk).update(status=SubscriptionStatus.DELETED)
    assert "No endpoint has failed" in member.get(path).content.decode()


def test_nobody_else_sees_or_changes_it(scene: Scene) -> None:
    issue = make_issue(scene.dead)
    other = make_organization()
    stranger = browser_of(make_member(other))
    assert stranger.post(f"/console/o/{other.slug}/issues/{issue.pk}/", {"note": "x"}).status_code == 404
    assert "503" not in stranger.get(f"/console/o/{other.slug}/issues/").content.decode()
    viewer = browser_of(make_member(scene.organization, Role.VIEWER))
    path = f"/console/o/{scene.organization.slug}/issues/"
    assert viewer.post(f"{path}{issue.pk}/", {"note": "x"}).status_code == 403
    assert "Note and mute" not in viewer.get(path).content.decode()
    assert Issue.objects.get().note == ""
