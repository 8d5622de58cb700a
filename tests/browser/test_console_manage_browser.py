"""The pages by which members help themselves, in a real browser: each important click."""

from datetime import timedelta
from unittest import mock

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from console.events.filters import EventFilters
from console.exports.jobs import create_export, run_exports
from console.models import Export, ExportFormat
from delivery.models import DeliveryStatus, Replay
from delivery.operations import subscription_fields
from delivery.webhooks import guard
from organizations.models import Membership, Role
from organizations.operations import invite_member
from tests.conftest import Tenant
from tests.factories import TESTER
from tests.support.people.console_data import Scene, make_counts, make_member, make_scene
from tests.support.people.console_visit import Visit
from tests.support.people.people_browser import needs_chromium

pytestmark = [
    needs_chromium,
    pytest.mark.django_db(transaction=True),
    pytest.mark.slow,
]


@pytest.fixture(autouse=True)
def _no_name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_fields, "check_destination", guard.check_url)


@pytest.fixture
def scene(tenant: Tenant) -> Scene:
    # Commits are real here: the servers may just be writing down the counts of this very minute.
    with mock.patch("tests.support.people.console_data.make_counts"):
        found = make_scene(tenant)
    make_counts(tenant.organization, timezone.now() - timedelta(minutes=2))
    now = timezone.now()
    Replay.objects.create(
        organization=tenant.organization,
        subscription=found.webhook,
        received_after=now,
        received_before=now,
        total=120,
        looked_at=40,
        created=38,
    )
    owner = make_member(tenant.organization, Role.OWNER, email="ada@example.com")
    for address in ("grace@example.com", "edsger@example.com"):
        invite_member(
            organization=tenant.organization, email=address, role="member", invited_by=owner, actor=TESTER, now=now
        )
    for kind in ExportFormat:
        wanted = EventFilters(type="invoice.paid" if kind is ExportFormat.CSV else "", source="/billing")
        create_export(organization=tenant.organization, user=owner, wanted=wanted, kind=kind, actor=TESTER, now=now)
    run_exports(seconds=5)
    Export.objects.filter(format=ExportFormat.NDJSON).update(status="running", total=12, finished_at=None)
    return found


def be_admin(tenant: Tenant) -> None:
    """Whoever is signed in: roles are read anew at each request."""
    Membership.objects.filter(organization=tenant.organization, role=Role.MEMBER).update(role=Role.ADMIN)


def test_a_webhook_is_made_and_its_secret_rotated(visit: Visit, scene: Scene) -> None:
    page = visit.go("subscriptions/")
    page.get_by_role("link", name="New subscription").click()
    page.get_by_label("URL", exact=True).fill("https://example.com/hook")
    page.get_by_label("Name").fill("Ledger")
    page.get_by_label("Filter").fill("{")
    page.get_by_role("button", name="Create webhook").click()
    expect(page.get_by_text("This is not JSON")).to_be_visible()
    page.get_by_label("Filter").fill('{"data.amount": {"gte": 1}}')
    page.get_by_role("button", name="Create webhook").click()
    expect(page.locator("#secret")).to_contain_text("whsec_")
    first = page.locator("#secret").text_content()
    page.reload()
    expect(page.locator("#secret")).to_have_count(0)
    page.get_by_role("link", name="Rotate secret").click()
    page.get_by_role("button", name="Rotate secret").click()
    expect(page.locator("#secret")).to_contain_text("whsec_")
    assert page.locator("#secret").text_content() != first
    assert [line for line in visit.complaints if "422" not in line] == []


def test_dead_letters_are_retried(visit: Visit, scene: Scene) -> None:
    page = visit.go(f"subscriptions/{scene.webhook.pk}/dead-letters/")
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Retry selected").click()
    expect(page.get_by_text("1 delivery is due now.")).to_be_visible()
    scene.dead.refresh_from_db()
    assert scene.dead.status == DeliveryStatus.PENDING
    scene.dead.status, scene.dead.next_attempt_at = DeliveryStatus.DEAD_LETTER, None
    scene.dead.save()
    visit.go(f"subscriptions/{scene.webhook.pk}/dead-letters/")
    page.get_by_role("link", name="Retry all").click()
    page.get_by_role("button", name="Retry 1").click()
    expect(page.get_by_role("heading", name="Retry of dead letters")).to_be_visible()
    expect(page.get_by_text("0 of 1 tried again")).to_be_visible()
    visit.check()


def test_a_replay_moves_by_itself(visit: Visit, scene: Scene) -> None:
    replay = Replay.objects.get()
    page = visit.go(f"replays/{replay.pk}/")
    expect(page.get_by_text("40 of 120 events examined")).to_be_visible()
    Replay.objects.update(looked_at=90)
    expect(page.get_by_text("90 of 120 events examined")).to_be_visible()
    page.get_by_role("link", name="Cancel replay").click()
    page.get_by_role("button", name="Cancel replay").click()
    expect(page.get_by_text("The replay was canceled.")).to_be_visible()
    visit.check()


def test_a_key_is_issued_and_shown_once(visit: Visit, tenant: Tenant) -> None:
    be_admin(tenant)
    page = visit.go("keys/")
    page.get_by_label("Name").fill("Billing")
    page.get_by_role("button", name="Create key").click()
    expect(page.locator("#secret")).to_contain_text("evp_live_")
    expect(page.get_by_role("button", name="Copy")).to_be_visible()
    page.reload()
    expect(page.locator("#secret")).to_have_count(0)
    visit.check()


def test_somebody_is_invited_and_joins(visit: Visit, tenant: Tenant) -> None:
    be_admin(tenant)
    page = visit.go("members/")
    page.get_by_label("Email address").fill("nora@example.com")
    page.get_by_label("Viewer").check()
    page.get_by_role("button", name="Send invitation").click()
    link = page.locator("#secret").text_content() or ""
    page.context.clear_cookies()
    page.goto(visit.base_url + "/console/" + link.partition("/console/")[2])
    page.get_by_label("Username").fill("nora")
    page.get_by_label("Password", exact=True).fill("a long enough word")
    page.get_by_label("Password confirmation").fill("a long enough word")
    page.get_by_role("button", name="Create account and join").click()
    expect(page.get_by_text("Welcome to")).to_be_visible()
    assert Membership.objects.get(user__username="nora").role == Role.VIEWER
    visit.check()


def test_a_schema_is_tried_with_a_sample(visit: Visit, scene: Scene) -> None:
    page = visit.go("event-types/")
    page.get_by_role("link", name="invoice.paid").click()
    page.get_by_role("link", name="Edit").click()
    page.get_by_label("JSON Schema").fill('{"required": ["nothing"]}')
    page.get_by_role("button", name="Check sample").click()
    expect(page.get_by_text("The sample does not match.")).to_be_visible()
    visit.check()


def test_an_export_is_asked_for(visit: Visit, scene: Scene) -> None:
    page = visit.go("exports/new?type=user.*")
    page.get_by_label("NDJSON").check()
    page.get_by_role("button", name="Start export").click()
    expect(page.locator("#export label")).to_have_text("0 events")
    run_exports(seconds=5)
    expect(page.get_by_role("link", name="Download NDJSON")).to_be_visible()
    expect(page.locator("#export label")).to_have_text("2 events")
    visit.check()
