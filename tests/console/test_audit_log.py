"""The audit log in words, of one object, of one time, and as a file."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from console.audit import queries, wording
from delivery.models import Subscription, SubscriptionKind
from delivery.operations import (
    SubscriptionChanges,
    create_subscription,
    delete_subscription,
    pause_subscription,
    subscription_fields,
    update_subscription,
)
from delivery.webhooks import guard
from organizations.audit import Actor, record
from organizations.models import AuditEntry, Organization, Role
from tests.conftest import Tenant
from tests.factories import make_organization
from tests.support.people.console_data import browser_of, make_member
from tests.support.people.console_exports import fetch

ROBOT = Actor.system("robot")


def entry(action: str, **changes: Any) -> AuditEntry:
    return AuditEntry(action=action, changes=changes)


@pytest.mark.parametrize(
    ("action", "changes", "told"),
    [
        ("subscription.created", {"event_types": [None, ["a.*", "b"]], "filter": "changed", "tags": [None, None]},
         [("event types", "a.*, b", None), ("filter", "changed", None)]),
        ("subscription.updated", {"tags": [None, ["a"]]}, [("tags", "none", "a")]),
        ("api_key.issued", {"scopes": ["events:read", "events:write"], "expires_at": None},
         [("scopes", "events:read, events:write", None)]),
        ("api_key.rotated", {"overlap_seconds": 86400}, [("the old one ends after", "24 h", None)]),
        ("member.role_changed", {"role": ["viewer", "owner"]}, [("role", "viewer", "owner")]),
        ("organization.updated", {"events_per_minute_override": [None, 5]}, [("events per minute", "none", "5")]),
        ("event_type.updated", {"validation": ["off", "warn"], "x": [True, False]},
         [("validation", "off", "warn"), ("x", "yes", "no")]),
        ("api_key.issued", {"expires_at": "2026-11-23T10:00:00.000000Z"},
         [("expires", "2026-11-23 10:00:00 UTC", None)]),
        ("x.y", {"z": {"a_b": [1, 2]}, "long": "x" * 500}, [("z", "a b 1, 2", None), ("long", "x" * 119 + "…", None)]),
    ],
)  # fmt: skip
def test_changes_are_told_in_words(
    action: str, changes: dict[str, Any], told: list[tuple[str, str, str | None]]
) -> None:
    assert wording.changes_of(entry(action, **changes)) == told


def test_actions_are_told_in_words() -> None:
    assert wording.done(entry("subscription.paused")) == "paused the"
    assert wording.done(entry("something_new.was_done")) == "something new was done"


@pytest.fixture
def owned(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> tuple[Organization, Subscription, Any]:
    """A webhook that was changed and paused among others, and the browser of an owner."""
    monkeypatch.setattr(subscription_fields, "check_destination", guard.check_url)
    made = []
    for name in ("Shop", "=Ledger"):
        changes = SubscriptionChanges(name=name, url="https://example.com/", event_types=["*"])
        created = create_subscription(
            organization=tenant.organization, kind=SubscriptionKind.WEBHOOK, changes=changes, actor=ROBOT
        )
        made.append(created.subscription)
    update_subscription(subscription=made[0], changes=SubscriptionChanges(event_types=["order.*"]), actor=ROBOT)
    pause_subscription(subscription=made[0], actor=ROBOT)
    return tenant.organization, made[0], browser_of(make_member(tenant.organization, Role.OWNER))


def test_the_history_of_an_object_is_linked_from_its_page_and_links_back(
    owned: tuple[Organization, Subscription, Any],
) -> None:
    organization, webhook, owner = owned
    home = f"/console/o/{organization.slug}/"
    link = f"{home}audit/?target={webhook.pk}&amp;kind=subscription"
    assert link in owner.get(f"{home}subscriptions/{webhook.pk}/").content.decode()
    page = owner.get(link.replace("&amp;", "&")).content.decode()
    assert "History of webhook Shop" in page
    assert "paused the" in page
    assert "order.*" in page
    assert "Ledger" not in page
    assert f'href="{home}subscriptions/{webhook.pk}/"' in page
    delete_subscription(subscription=webhook, actor=ROBOT)
    page = owner.get(link.replace("&amp;", "&")).content.decode()
    assert "deleted the" in page
    assert f'href="{home}subscriptions/{webhook.pk}/"' not in page
    # The same id in another organization finds nothing.
    other = make_organization()
    stranger = browser_of(make_member(other, Role.OWNER))
    assert "Shop" not in stranger.get(f"/console/o/{other.slug}/audit/?target={webhook.pk}").content.decode()


def test_days_bound_what_is_shown(owned: tuple[Organization, Subscription, Any]) -> None:
    organization, _, owner = owned
    audit = f"/console/o/{organization.slug}/audit/"
    today = timezone.now().date()
    tomorrow, yesterday = today + timedelta(days=1), today - timedelta(days=1)
    for query, is_found in (
        (f"from={today}&to={today}", True), (f"from={tomorrow}", False), (f"to={yesterday}", False),
        ("from=2026-02-31&to=soon", True), ("from=9999-12-31", True),
    ):  # fmt: skip
        assert ("paused the" in owner.get(f"{audit}?{query}").content.decode()) == is_found, query


def test_what_is_shown_can_be_downloaded(
    owned: tuple[Organization, Subscription, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    organization, webhook, owner = owned
    export = f"/console/o/{organization.slug}/audit/export"
    person = make_member(organization, Role.ADMIN)

    def read(query: str) -> str:
        return fetch(person, f"{export}?{query}")[1].decode()

    answer = owner.get(f"{export}?format=csv&target={webhook.pk}")
    assert answer["Content-Disposition"].startswith('attachment; filename="audit-')
    rows = list(csv.DictReader(io.StringIO(read(f"format=csv&target={webhook.pk}"), newline="")))
    assert [row["action"] for row in rows] == ["subscription.paused", "subscription.updated", "subscription.created"]
    assert rows[1]["changes"] == "event types: * → order.*"
    record(actor=Actor.system("=cmd"), action="x.y", target=organization, organization=organization)
    rows = list(csv.DictReader(io.StringIO(read("format=csv"), newline="")))
    assert rows[0]["actor"] == "'=cmd"
    lines = [json.loads(line) for line in read("format=ndjson&actor=robot").splitlines()]
    assert len(lines) == 4
    assert lines[1]["changes"] == {"event_types": [["*"], ["order.*"]]}
    monkeypatch.setattr(queries, "LOOKED_AT", 2)
    again = [json.loads(line) for line in read("format=ndjson&actor=robot").splitlines()]
    assert again == lines
    monkeypatch.setattr(queries, "MOST_EXPORTED", 3)
    assert len(read("format=ndjson").splitlines()) == 3
    assert owner.get(f"{export}?format=xml").status_code == 404
    member = browser_of(make_member(organization, Role.MEMBER))
    assert member.get(f"{export}?format=csv").status_code == 403
