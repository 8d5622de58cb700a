"""Exports: what is in the file, who gets it, how it ends, and that a killed worker neither loses nor repeats events."""

import csv
import io
import json
import re
import zlib
from datetime import timedelta
from unittest import mock

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from console.exports import jobs as exports
from console.exports.files import COLUMNS
from console.exports.jobs import remove_expired_exports, run_exports
from console.models import Export, ExportPart, ExportStatus
from events_platform.settings import CELERY_BEAT_SCHEDULE
from ingestion.models import Event
from ingestion.queries import EventPage
from organizations.jobs.running import MAX_FAILURES
from organizations.models import Organization, Role
from organizations.plans import LIMITS, Plan
from tests.conftest import Tenant
from tests.factories import make_events, make_organization
from tests.support.people.console_data import Scene, browser_of, make_member, make_scene
from tests.support.people.console_exports import begin, fetch, finish
from tests.support.people.console_site import Site, actions, as_role


@pytest.fixture
def scene(tenant: Tenant) -> Scene:
    return make_scene(tenant)


@pytest.fixture
def user(tenant: Tenant) -> User:
    return make_member(tenant.organization, Role.MEMBER)


@pytest.fixture
def member(tenant: Tenant, user: User) -> Site:
    return Site(tenant.organization, browser_of(user))


def link_of(member: Site, export: Export) -> str:
    found = re.search(r'href="([^"]+/download\?key=[^"]+)"', member.page(f"exports/{export.pk}/"))
    assert found
    return found[1].replace("&amp;", "&")


def test_an_export_has_the_events_of_its_list(scene: Scene, member: Site, user: User) -> None:
    export = begin(member, "type=invoice.paid&range=24h")
    assert "range" not in export.query
    assert 'hx-trigger="every 2s"' in member.page(f"exports/{export.pk}/")
    finish(export)
    assert (export.status, export.total, export.events) == ("done", 7, 7)
    status, body, answer = fetch(user, link_of(member, export))
    assert status == 200
    lines = [json.loads(line) for line in body.splitlines()]
    assert [line["type"] for line in lines] == ["invoice.paid"] * 7
    assert lines[0]["id"] == scene.event_id
    assert lines[0]["data"]["customer"]["id"] == "cus_42"
    assert {line["status"] for line in lines} == {"processed"}
    assert int(answer["Content-Length"]) == len(body) == export.size
    assert 'filename="events-' in answer["Content-Disposition"]
    assert actions(scene.organization)[-2:] == ["export.created", "export.downloaded"]


def test_a_csv_cell_is_never_a_formula(tenant: Tenant, member: Site, user: User) -> None:
    evil = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx"]
    for text in evil:
        tenant.post("/api/v1/events", {"type": "-minus", "subject": text, "source": 'quiet, "x"', "data": -5})
    export = finish(begin(member, kind="csv"))
    _, body, answer = fetch(user, link_of(member, export))
    assert answer["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(body.decode(), newline="")))
    assert list(rows[0]) == list(COLUMNS)
    assert sorted(row["subject"] for row in rows) == sorted(f"'{text}" for text in evil)
    assert {row["type"] for row in rows} == {"'-minus"}
    assert {row["data"] for row in rows} == {"'-5"}
    assert {row["source"] for row in rows} == {'quiet, "x"'}
    assert {row["time"] for row in rows} == {""}


def test_filters_that_look_at_each_event_export_the_same(scene: Scene, member: Site, user: User) -> None:
    export = finish(begin(member, "path=customer.id&value=cus_42"))
    assert (export.total, export.events) == (None, 7)
    export = finish(begin(member, "status=failed"))
    _, body, _ = fetch(user, link_of(member, export))
    assert [json.loads(line)["id"] for line in body.splitlines()] == [scene.failed_id]


def test_many_events_come_in_parts_each_once(
    tenant: Tenant, member: Site, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_events(tenant.organization, 230)
    monkeypatch.setattr(exports, "PAGES_PER_PART", 2)
    export = begin(member, "type=invoice.*")
    calls = 0
    real = zlib.compress

    def fail_once(data: bytes, level: int = -1) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("killed")
        return real(data, level)

    with mock.patch.object(zlib, "compress", fail_once):
        run_exports(seconds=10)
    finish(export)
    assert (export.status, export.parts, export.failures) == ("done", 3, 0)
    _, body, _ = fetch(user, link_of(member, export))
    ids = [json.loads(line)["id"] for line in body.splitlines()]
    assert ids == [str(event.pk) for event in reversed(made)]


def test_an_export_ends_at_its_bound(tenant: Tenant, member: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    make_events(tenant.organization, 130)
    monkeypatch.setattr(exports, "MAX_EVENTS", 70)
    export = finish(begin(member))
    assert (export.events, export.is_cut, export.total) == (70, True, 70)
    assert "older events are missing from this file" in member.page(f"exports/{export.pk}/")


def test_what_comes_later_is_not_in_it(tenant: Tenant, member: Site) -> None:
    export = begin(member)
    make_events(tenant.organization, 3, at=timezone.now() + timedelta(minutes=5))
    assert finish(export).events == 0
    assert "0 of 0 events" in member.page(f"exports/{export.pk}/")


def test_an_empty_csv_has_its_header(member: Site, user: User) -> None:
    export = finish(begin(member, kind="csv"))
    assert fetch(user, link_of(member, export))[1] == (",".join(COLUMNS) + "\r\n").encode()


def test_a_filter_that_is_too_slow_fails_with_words(scene: Scene, member: Site) -> None:
    export = begin(member, "source=/billing")
    with mock.patch.object(exports, "find_events", return_value=EventPage(events=[], timed_out=True)):
        for _ in range(MAX_FAILURES):
            run_exports(seconds=1)
    export.refresh_from_db()
    assert export.status == ExportStatus.FAILED
    assert "took too long" in member.page(f"exports/{export.pk}/")


def test_an_export_is_cancelled_after_a_confirmation(scene: Scene, member: Site) -> None:
    export = begin(member)
    ExportPart.objects.create(export=export, number=0, body=zlib.compress(b"x"))
    assert "Cancel this export?" in member.page(f"exports/{export.pk}/cancel")
    assert "was canceled" in member.follow(f"exports/{export.pk}/cancel")
    assert not ExportPart.objects.exists()
    assert finish(export).status == ExportStatus.CANCELLED
    assert "had already ended" in member.follow(f"exports/{export.pk}/cancel")


def test_only_a_few_run_at_once(member: Site) -> None:
    for _ in range(LIMITS[Plan.FREE].exports_running):
        begin(member)
    answer = member.post("exports/new", query="", format="csv")
    assert answer.status_code == 409
    assert "3 exports are running" in answer.content.decode()


def test_a_filter_that_is_not_understood_exports_nothing(member: Site) -> None:
    answer = member.post("exports/new", query="status=lost", format="csv")
    assert answer.status_code == 422
    assert "There is no outcome" in answer.content.decode()
    assert member.post("exports/new", query="", format="xml").status_code == 422
    assert not Export.objects.exists()


def test_a_link_ends_with_its_file(scene: Scene, member: Site, user: User) -> None:
    export = finish(begin(member))
    link = link_of(member, export)
    assert fetch(user, link.replace("key=", "key=x"))[0] == 404
    assert fetch(user, link.partition("?")[0])[0] == 404
    other = finish(begin(member))
    assert fetch(user, link.replace(str(export.pk), str(other.pk)))[0] == 404
    assert remove_expired_exports(now=timezone.now()) == 0
    Export.objects.filter(pk=export.pk).update(expires_at=timezone.now())
    assert fetch(user, link)[0] == 404
    assert remove_expired_exports(now=timezone.now()) == 1
    assert not ExportPart.objects.filter(export=export).exists()
    assert "The file is gone" in member.page(f"exports/{export.pk}/")
    assert remove_expired_exports(now=timezone.now() + timedelta(days=40)) == 1
    assert not Export.objects.exists()


def test_nobody_else_gets_the_file(scene: Scene, member: Site) -> None:
    export = finish(begin(member))
    link = link_of(member, export)
    stranger = make_member(make_organization(), Role.OWNER)
    viewer = make_member(scene.organization, Role.VIEWER)
    assert fetch(stranger, link)[0] == 404
    assert fetch(viewer, link)[0] == 403
    elsewhere = as_role(make_organization(), Role.OWNER)
    for path in ("", "cancel", "download"):
        assert elsewhere.get(f"exports/{export.pk}/{path}").status_code == 404
    foreign = Event.objects.exclude(organization=elsewhere.organization).count()
    assert foreign
    mine = begin(elsewhere)
    assert finish(mine).events == 0


def test_beat_runs_the_exports() -> None:
    tasks = {entry["task"] for entry in CELERY_BEAT_SCHEDULE.values()}
    assert {"console.run_exports", "console.remove_expired_exports"} <= tasks


def test_the_list_shows_exports(scene: Scene, member: Site, tenant: Tenant) -> None:
    assert "No exports yet" in member.page("exports/")
    finish(begin(member, kind="csv"))
    page = member.page("exports/")
    assert "CSV" in page
    assert "done" in page


def test_deleting_an_organization_deletes_its_exports(member: Site) -> None:
    finish(begin(member))
    Organization.objects.filter(pk=member.organization.pk).delete()
    assert not ExportPart.objects.exists()
