"""The console's pages: what each shows when it is empty, full and in error, and how many queries that takes."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from uuid_utils.compat import uuid7

from console.models import SavedView
from console.overview import queries as stats
from delivery.models import Attempt, Delivery, DeliveryStatus, Replay
from ingestion import queries as event_search
from ingestion.models import Event, EventType, IntakeCount, ProcessingFailure
from ingestion.operations import process_outbox
from organizations.models import AuditEntry, Membership, Role
from tests.conftest import Tenant
from tests.factories import UserFactory, make_organization
from tests.support.limiting import set_limits
from tests.support.people.console_data import Scene, browser_of, make_member, make_scene

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NOBODY = "01900000-0000-7000-8000-000000000000"
MAX_QUERIES = 12


@pytest.fixture
def scene(tenant: Tenant) -> Scene:
    return make_scene(tenant)


@pytest.fixture
def member(tenant: Tenant) -> Client:
    return browser_of(make_member(tenant.organization, Role.MEMBER))


@pytest.fixture
def home(tenant: Tenant) -> str:
    return f"/console/o/{tenant.organization.slug}/"


def text_of(client: Client, path: str, status: int = 200) -> str:
    page = client.get(path)
    assert page.status_code == status
    return page.getvalue().decode()


@contextmanager
def few_queries() -> Iterator[CaptureQueriesContext]:
    """Savepoints are what a transaction is within that of a test."""
    with CaptureQueriesContext(connection) as queries:
        yield queries
    asked = [query["sql"][:150] for query in queries if "SAVEPOINT" not in query["sql"]]
    assert len(asked) <= MAX_QUERIES, "\n".join(asked)


# --- Overview -----------------------------------------------------------------------------------------------------


def test_the_overview_counts_and_links_each_bar_to_its_events(scene: Scene, member: Client, home: str) -> None:
    page = text_of(member, home)
    accepted = sum(IntakeCount.objects.filter(outcome="accepted").values_list("count", flat=True))
    assert f"{accepted / 1000:.1f}k" in page
    assert "4 failures in a row" in page
    assert "50 %" in page
    assert "1 event could not be processed" in page
    bars = re.findall(r'<a href="([^"]+)"\s+class="column"', page)
    assert len(bars) == 48
    assert member.get(bars[-1].replace("&amp;", "&")).status_code == 200


@pytest.mark.parametrize("chosen", [*stats.RANGES, "nonsense"])
def test_the_overview_has_ranges(scene: Scene, member: Client, home: str, chosen: str) -> None:
    assert "invoice.paid" in text_of(member, f"{home}?range={chosen}")


def test_an_overview_without_any_event_leads_to_the_first_one(member: Client, home: str) -> None:
    page = member.get(home, follow=True)
    assert page.redirect_chain == [(f"{home}start/", 302)]
    assert "Waiting for the first event" in page.content.decode()


def test_an_overview_of_long_gone_events_is_no_first_run(tenant: Tenant, member: Client, home: str) -> None:
    EventType.objects.create(organization=tenant.organization, name="old", first_seen_at=timezone.now(), count=1)
    assert "Nothing was processed in this time range." in text_of(member, home)


def test_a_suspended_organization_says_so(scene: Scene, member: Client, home: str) -> None:
    scene.organization.suspended_at, scene.organization.suspended_reason = timezone.now(), "Unpaid"
    scene.organization.save()
    assert "Reason: Unpaid" in text_of(member, home)


# --- The first event ------------------------------------------------------------------------------------------------


def test_the_first_run_shows_the_start_of_a_key_and_three_languages(tenant: Tenant, member: Client, home: str) -> None:
    page = text_of(member, f"{home}start/")
    assert f"evp_live_{tenant.key.public_id}…" in page
    assert tenant.plaintext not in page
    assert all(language in page for language in ("curl", "Python", "JavaScript"))
    assert "hx-trigger" in text_of(member, f"{home}start/status")
    tenant.post("/api/v1/events", {"type": "hello.world", "data": 1})
    arrived = text_of(member, f"{home}start/status")
    assert "hello.world" in arrived
    assert "hx-trigger" not in arrived


# --- Events ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 9),
        ("type=invoice.paid", 7),
        ("type=user.*", 2),
        ("type=*", 9),
        ("source=/billing", 6),
        ("subject=inv_3", 1),
        ("status=failed", 1),
        ("status=processed", 8),
        ("status=accepted", 0),
        ("delivery_status=dead_letter", 1),
        ("delivery_status=pending&type=user.*", 2),
        ("delivery_status=held", 0),
        ("outcome=dead_letter&source=/billing", 0),
        ("outcome=failed", 1),
        ("range=15m", 9),
        ("to=2026-01-01T00:00:00Z", 0),
        ("from=2026-01-01T00:00", 9),
        ("path=customer.id&value=cus_42", 7),
        ("path=amount&value=12900", 7),
        ("path=lines.1.sku&value=B-2", 7),
        ("path=customer&value={%22id%22:1}", 0),
        ("path=amount&value=1e999999", 0),
        ("path=customer.id&value=%5Cu0000", 0),
        ("path=paid&value=true&type=invoice.*&source=/billing&range=1h", 6),
        ("before=ffffffff-ffff-ffff-ffff-ffffffffffff", 9),
        ("type=%00", 9),
        ("source=%ED%A0%80", 0),
    ],
)
def test_the_list_filters(scene: Scene, member: Client, home: str, query: str, count: int) -> None:
    assert text_of(member, f"{home}events/?{query}").count("<tr data-id") == count


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("status=strange", "There is no outcome “strange”."),
        ("delivery_status=strange", "There is no outcome “strange”."),
        ("range=3y", "There is no range “3y”."),
        ("from=yesterday", "“yesterday” is not a time"),
        ("from=2026-13-01T00:00:00Z", "is not a time"),
        ("to=9999-12-31T23:59:59Z", "is not a time"),
        ("from=0001-01-01T00:00:00%2B14:00", "is not a time"),
        ("path=customer.id", "needs both a path and a value"),
        ("before=1", "is not an event&#x27;s id"),
        ("value=1&path=" + ".".join("a" * 70), "at most 64 steps"),
    ],
)
def test_a_mistyped_link_says_what_is_wrong_and_shows_the_rest(
    scene: Scene, member: Client, home: str, query: str, words: str
) -> None:
    page = text_of(member, f"{home}events/?{query}")
    assert words in page
    assert page.count("<tr data-id") == 9


@pytest.mark.parametrize(("query", "kept"), [("path=customer.id", "customer.id"), ("value=cus_42", "cus_42")])
def test_a_search_without_its_other_half_keeps_what_was_typed(
    scene: Scene, member: Client, home: str, query: str, kept: str
) -> None:
    page = text_of(member, f"{home}events/?{query}")
    assert f'value="{kept}"' in page
    missing = "value" if query.startswith("path") else "path"
    assert f'name="{missing}" aria-invalid="true" aria-describedby="{missing}-error"' in page
    assert f'id="{missing}-error"' in page


def test_pages_of_the_list_are_stable_and_complete(
    tenant: Tenant, member: Client, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.events.views.PAGE_SIZE", 4)
    sent = [tenant.post("/api/v1/events", {"type": "a", "data": number}).json()["id"] for number in range(10)]
    seen: list[str] = []
    path = f"{home}events/?type=a"
    for _ in range(5):
        page = text_of(member, path)
        seen += re.findall(r'<tr data-id="([^"]+)"', page)
        tenant.post("/api/v1/events", {"type": "a", "data": "later"})
        older = re.search(r'href="([^"]+)"\s+rel="next"', page)
        if older is None:
            break
        path = f"{home}events/{older[1].replace('&amp;', '&')}"
    assert seen == sent[::-1]


def test_a_filter_without_index_says_how_far_it_looked_and_goes_on(
    tenant: Tenant, member: Client, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_search, "SCANNED_EVENTS", 3)
    tenant.post("/api/v1/events", {"type": "a", "source": "rare", "data": 1})
    for _ in range(5):
        tenant.post("/api/v1/events", {"type": "a", "data": 1})
    path, clicks = f"{home}events/?source=rare", 0
    while "<tr data-id" not in (page := text_of(member, path)):
        assert 'data-emptiness="bounded"' in page
        path = home + "events/" + re.findall(r'href="(\?[^"]+before=[^"]+)"', page)[0].replace("&amp;", "&")
        clicks += 1
    assert clicks == 1


def test_the_start_of_a_rare_type_is_found_however_many_came_since(
    tenant: Tenant, member: Client, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_search, "SCANNED_EVENTS", 1)
    for name in ("rare.one", "rare.two", "common", "common"):
        tenant.post("/api/v1/events", {"type": name, "data": 1})
    process_outbox()
    page = text_of(member, f"{home}events/?type=rare.*")
    assert re.findall(r"data-row>([^<]+)<", page) == ["rare.two", "rare.one"]
    assert text_of(member, f"{home}events/?type=rare.o*").count("<tr data-id") == 1


def test_failed_events_are_found_wherever_they_are(
    tenant: Tenant, member: Client, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_search, "MAX_MARKED", 1)
    sent = [tenant.post("/api/v1/events", {"type": "a", "data": 1}).json()["id"] for _ in range(2)]
    process_outbox()
    for event_id in sent:
        ProcessingFailure.objects.create(event_id=event_id, organization=tenant.organization, failed_at=timezone.now())
    page = text_of(member, f"{home}events/?status=failed&type=a&from=2020-01-01&to=2100-01-01")
    assert sent[1] in page
    older = re.findall(r'href="(\?[^"]+before=[^"]+)"', page)[0].replace("&amp;", "&")
    page = text_of(member, f"{home}events/{older}")
    assert sent[0] in page
    assert sent[1] not in page


def test_a_search_that_takes_too_long_is_stopped_and_says_so(
    scene: Scene, member: Client, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_search, "TIMEOUT_MS", 20)
    monkeypatch.setattr(event_search, "_PATH", "pg_sleep(1) IS NULL AND data #> %s::text[] IN (%s::jsonb, %s::jsonb)")
    assert "The search took too long" in text_of(member, f"{home}events/?path=amount&value=1")


@pytest.mark.parametrize(
    ("query", "emptiness"),
    [("", "first"), ("type=x", "no_match"), ("to=2020-01-01T00:00:00Z", "aged_out")],
)
def test_lists_are_empty_for_different_reasons(member: Client, home: str, query: str, emptiness: str) -> None:
    assert f'data-emptiness="{emptiness}"' in text_of(member, f"{home}events/?{query}")


def test_a_list_whose_events_all_aged_out_says_so(tenant: Tenant, member: Client, home: str) -> None:
    EventType.objects.create(organization=tenant.organization, name="old", first_seen_at=timezone.now(), count=1)
    assert "Events are kept for 7 days" in text_of(member, f"{home}events/")


def test_no_list_counts_events(scene: Scene, member: Client, home: str) -> None:
    member.get(home)  # remembers the organization in the session
    with few_queries() as queries:
        member.get(f"{home}events/?type=user.*&status=processed")
    assert not [query["sql"] for query in queries if "COUNT(" in query["sql"]]


# --- Saved views ------------------------------------------------------------------------------------------------------


def test_a_view_is_saved_replaced_listed_and_deleted(scene: Scene, member: Client, home: str) -> None:
    def save(query: str) -> Any:
        return member.post(f"{home}views/save", {"name": " My  view ", "query": query})

    assert save("type=a&before=1&unknown=2")["Location"] == f"{home}events/?type=a"
    save("type=user.*&range=24h")
    view = SavedView.objects.get()
    assert (view.name, view.query) == ("My view", "type=user.%2A&range=24h")
    assert "My view" in text_of(member, f"{home}events/")
    assert "Delete this view" in text_of(member, f"{home}events/?range=24h&type=user.*")
    member.post(f"{home}views/{view.pk}/delete")
    assert not SavedView.objects.exists()
    member.post(f"{home}views/save", {"name": " ", "query": ""})
    assert not SavedView.objects.exists()


def test_a_view_belongs_to_its_owner_alone(scene: Scene, member: Client, home: str) -> None:
    member.post(f"{home}views/save", {"name": "Mine alone", "query": "type=a"})
    view = SavedView.objects.get()
    colleague = browser_of(make_member(scene.organization))
    assert "Mine alone" not in text_of(colleague, f"{home}events/")
    assert colleague.post(f"{home}views/{view.pk}/delete").status_code == 404
    elsewhere = make_organization()
    Membership.objects.create(organization=elsewhere, user=view.owner)
    assert member.post(f"/console/o/{elsewhere.slug}/views/{view.pk}/delete").status_code == 404
    assert SavedView.objects.exists()


def test_views_have_a_limit(scene: Scene, member: Client, home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_limits(monkeypatch, saved_views=1)
    member.post(f"{home}views/save", {"name": "One", "query": "type=a"})
    refused = member.post(f"{home}views/save", {"name": "Two", "query": "type=a"}, follow=True)
    assert "Delete one first" in refused.content.decode()


# --- One event --------------------------------------------------------------------------------------------------------


def test_an_event_shows_its_data_and_its_way(scene: Scene, member: Client, home: str) -> None:
    page = text_of(member, f"{home}events/{scene.event_id}/")
    assert "<script>alert" not in page
    assert "Ada &amp; Söhne &lt;script&gt;" in page
    for words in ("Received", "Processed", "Billing", "Dead letter", "503", "160 ms", "&lt;h1&gt;Sorry", "Retry"):
        assert words in page
    # Whether it arrived is what people come for: it is read first, on a phone and aloud too.
    assert page.index("</h1>") < page.index('id="timeline-title"') < page.index('id="facts-title"')
    assert "Could not be processed" in text_of(member, f"{home}events/{scene.failed_id}/")


def test_an_event_that_waits_says_so(tenant: Tenant, member: Client, home: str) -> None:
    event_id = tenant.post("/api/v1/events", {"type": "a", "data": 1}).json()["id"]
    assert "Waiting to be processed" in text_of(member, f"{home}events/{event_id}/")


def test_data_is_shown_as_it_is_stored(tenant: Tenant, member: Client, home: str) -> None:
    data = b'{"type": "a", "data": {"n": 12345678901234567890.10, "list": [], "deep": ' + b"[" * 30 + b"]" * 30 + b"}}"
    event_id = tenant.post("/api/v1/events", data).json()["id"]
    page = text_of(member, f"{home}events/{event_id}/")
    assert "12345678901234567890.10" in page
    raw = member.get(f"{home}events/{event_id}/raw?part=data&download")
    assert b"12345678901234567890.10" in raw.content
    assert raw["Content-Disposition"] == f'attachment; filename="{event_id}-data.json"'
    assert member.get(f"{home}events/{event_id}/raw").json()["type"] == "a"


@pytest.mark.parametrize("data", ["x" * 150_000, list(range(20_000))])
def test_large_data_is_a_download(tenant: Tenant, member: Client, home: str, data: Any) -> None:
    event_id = tenant.post("/api/v1/events", {"type": "a", "data": data}).json()["id"]
    page = text_of(member, f"{home}events/{event_id}/")
    assert "too large to show" in page
    assert len(page) < 40_000
    assert "@event.json" in page


def test_annotations_are_shown(tenant: Tenant, member: Client, home: str) -> None:
    event_id = tenant.post("/api/v1/events", {"type": "a", "data": 1}).json()["id"]
    annotations = (
        '{"attributes": {"tracepart": "t-1"}, "schema_errors": [{"pointer": "/data/x", "detail": "is missing"}]}'
    )
    with connection.cursor() as cursor:
        cursor.execute("UPDATE ingestion_event SET annotations = %s WHERE id = %s", [annotations, event_id])
    page = text_of(member, f"{home}events/{event_id}/")
    assert all(words in page for words in ("tracepart", "t-1", "/data/x", "is missing"))


def test_an_unknown_event_is_a_404_that_knows_whether_it_aged_out(scene: Scene, member: Client, home: str) -> None:
    assert "This event is gone" in text_of(member, f"{home}events/{NOBODY}/", 404)
    assert "No such event" in text_of(member, f"{home}events/{uuid7()}/", 404)
    assert "Page not found" in text_of(member, f"{home}events/{NOBODY}/raw", 404)


def test_a_retry_makes_the_delivery_due_and_is_audited(scene: Scene, member: Client, home: str) -> None:
    done = member.post(f"{home}deliveries/{scene.dead.pk}/retry", follow=True)
    assert "The delivery is due now." in done.content.decode()
    scene.dead.refresh_from_db()
    assert scene.dead.status == DeliveryStatus.PENDING
    assert AuditEntry.objects.filter(action="delivery.retried", actor_kind="user").exists()
    assert member.post(f"{home}deliveries/{NOBODY}/retry").status_code == 404


def test_a_retry_that_cannot_be_says_why_on_the_events_page(scene: Scene, member: Client, home: str) -> None:
    taken = {"lease_id": uuid7(), "status": "pending", "next_attempt_at": timezone.now() + timedelta(minutes=1)}
    Delivery.objects.filter(pk=scene.dead.pk).update(**taken)
    refused = member.post(f"{home}deliveries/{scene.dead.pk}/retry", follow=True)
    assert refused.redirect_chain == [(f"{home}events/{scene.event_id}/", 302)]
    assert "being attempted now" in refused.content.decode()


def test_a_replay_makes_a_new_delivery(scene: Scene, member: Client, home: str) -> None:
    done = member.post(f"{home}events/{scene.event_id}/replay", {"subscription": str(scene.webhook.pk)}, follow=True)
    assert "is on its way" in done.content.decode()
    assert Replay.objects.get().total == 1
    for wrong in ("", "x", NOBODY):
        assert member.post(f"{home}events/{scene.event_id}/replay", {"subscription": wrong}).status_code == 404


def test_a_replay_of_one_event_of_a_batch_leaves_the_others_alone(
    tenant: Tenant, scene: Scene, member: Client, home: str
) -> None:
    batch = [{"type": "bulk", "data": 1}, {"type": "bulk", "data": 2}]
    sent = tenant.post("/api/v1/events/batch", {"events": batch}).json()["results"]
    member.post(f"{home}events/{sent[0]['id']}/replay", {"subscription": str(scene.webhook.pk)})
    replay = Replay.objects.get()
    assert (replay.total, replay.event_ids) == (1, [UUID(sent[0]["id"])])
    assert "1 chosen event<" in member.get(f"{home}replays/").content.decode()
    page = member.get(f"{home}replays/{replay.pk}/").content.decode()
    assert f"{home}events/{sent[0]['id']}/" in page
    assert "Received from" not in page
    changes = AuditEntry.objects.get(action="replay.created").changes
    assert changes["chosen_events"] == 1
    assert "received_after" not in changes


def test_a_replay_that_cannot_be_says_why(
    scene: Scene, member: Client, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(monkeypatch, replays_running=0)
    refused = member.post(f"{home}events/{scene.event_id}/replay", {"subscription": str(scene.webhook.pk)}, follow=True)
    assert "replays running" in refused.content.decode()


def test_a_replay_to_a_subscription_of_other_types_is_refused(scene: Scene, member: Client, home: str) -> None:
    scene.webhook.event_types = ["other"]
    scene.webhook.save()
    values = {"subscription": str(scene.webhook.pk)}
    refused = member.post(f"{home}events/{scene.event_id}/replay", values, follow=True)
    assert "does not receive events of type" in refused.content.decode()
    assert not Replay.objects.exists()


# --- Live -------------------------------------------------------------------------------------------------------------


def cursor_of(page: str) -> str:
    found = re.search(r'data-cursor="([^"]+)"|^id: (.+)$', page, re.MULTILINE)
    assert found
    return found[1] or found[2]


def test_live_shows_what_came_after_the_cursor(tenant: Tenant, member: Client, home: str) -> None:
    cursor = cursor_of(text_of(member, f"{home}live/"))
    tenant.post("/api/v1/events", {"type": "a.b", "data": 1})
    tenant.post("/api/v1/events", {"type": "c", "data": 1})
    assert text_of(member, f"{home}live/stream?cursor={cursor}").count("<tr data-id") == 2
    assert text_of(member, f"{home}live/stream?cursor={cursor}&type=a.*").count("<tr data-id") == 1
    assert text_of(member, f"{home}live/stream?cursor=nonsense").count("<tr data-id") == 2
    last = {"Last-Event-ID": "ffffffff-ffff-7fff-bfff-ffffffffffff"}
    assert b"<tr data-id" not in member.get(f"{home}live/stream?cursor={cursor}", headers=last).getvalue()


def test_live_misses_no_event_that_is_committed_late(tenant: Tenant, member: Client, home: str) -> None:
    late_id = uuid7()
    sent = tenant.post("/api/v1/events", {"type": "early", "data": 1}).json()["id"]
    cursor = cursor_of(text_of(member, f"{home}live/stream"))
    assert UUID(cursor) < UUID(sent)
    Event.objects.create(
        id=late_id,
        organization=tenant.organization,
        type="late",
        data_text="1",
        received_at=timezone.now(),
        batch_id=uuid7(),
    )
    assert str(late_id) in text_of(member, f"{home}live/stream?cursor={cursor}")


def test_live_says_when_more_came_than_it_shows(
    tenant: Tenant, member: Client, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.live.queries.MAX_ROWS", 3)
    tenant.post("/api/v1/events/batch", {"events": [{"type": "a", "data": 1}] * 4})
    page = text_of(member, f"{home}live/stream")
    assert page.count("<tr data-id") == 3
    assert "More events arrived than can be shown" in page


def test_a_page_in_the_background_does_not_change_where_one_is(member: Client, tenant: Tenant, home: str) -> None:
    other = make_organization()
    other.memberships.create(user=User.objects.get())
    member.get(f"/console/o/{other.slug}/events/")
    member.get(f"{home}live/stream", headers={"Accept": "text/event-stream"})
    assert member.get("/console/")["Location"] == f"/console/o/{other.slug}/"


def test_live_names_what_was_rejected(scene: Scene, member: Client, home: str) -> None:
    IntakeCount.objects.create(
        organization=scene.organization,
        minute=timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=2),
        outcome="payload_too_large",
        count=3,
    )
    assert "3 × payload_too_large" in text_of(member, f"{home}live/")


def test_staff_watch_everybody(tenant: Tenant, scene: Scene) -> None:
    staff = browser_of(UserFactory.create(is_staff=True))
    assert scene.organization.name in text_of(staff, "/console/live/")
    assert scene.organization.name in text_of(staff, "/console/live/stream")
    assert scene.organization.name in text_of(staff, "/console/events/?range=1h")


# --- All of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "",
        "?range=1h",
        "?range=30d",
        "events/",
        "events/?type=invoice.*&source=/billing&status=processed&path=amount&value=12900&range=24h",
        "events/?status=failed",
        "events/?delivery_status=pending&type=invoice.*&source=/billing",
        "events/?type=user.*",
        "events/?type=unknown.*",
        "events/{event}/",
        "events/{event}/raw",
        "live/",
        "live/stream",
        "start/",
        "start/status",
    ],
)
def test_a_page_takes_few_queries(scene: Scene, member: Client, home: str, path: str) -> None:
    member.get(home)
    with few_queries():
        assert member.get(home + path.format(event=scene.event_id)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/console/events/",
        "/console/live/",
        "/console/organizations/",
        "/console/o/{slug}/",
        "/console/o/{slug}/events/?type=user.*",
        "/console/o/{slug}/events/?status=failed",
        "/console/o/{slug}/events/?delivery_status=pending",
        "/console/o/{slug}/events/{event}/",
    ],
)
def test_a_page_of_staff_takes_few_queries(scene: Scene, path: str) -> None:
    staff = browser_of(UserFactory.create(is_staff=True))
    path = path.format(slug=scene.organization.slug, event=scene.event_id)
    staff.get(path)
    with few_queries():
        assert staff.get(path).status_code == 200


def test_no_proxy_keeps_a_page(scene: Scene, member: Client, home: str) -> None:
    assert "private" in member.get(f"{home}events/{scene.event_id}/raw")["Cache-Control"]


def test_no_query_of_the_overview_touches_events(scene: Scene, member: Client, home: str) -> None:
    member.get(home)  # remembers the organization in the session
    with few_queries() as queries:
        member.get(home)
    assert not [
        query["sql"] for query in queries if "ingestion_event" in query["sql"].replace("ingestion_eventtype", "")
    ]
    assert Attempt.objects.exists()


def test_the_files_of_others_are_what_their_table_says() -> None:
    rows = re.findall(
        r"^\| `(\S+)` \|.*`([0-9a-f]{64})` \|$", (ROOT / "static/vendor/README.md").read_text(), re.MULTILINE
    )
    assert rows
    for path, digest in rows:
        assert hashlib.sha256((ROOT / "static/vendor" / path).read_bytes()).hexdigest() == digest
