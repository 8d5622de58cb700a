"""The form "Send an event": the API's intake with the errors in words, and who may use it."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from core.ports import SyncRedis, run_now
from ingestion.intake.rejections import record_rejections
from ingestion.models import Event, EventType, Validation
from ingestion.operations.event_types import EventTypeChanges, create_event_type
from ingestion.schemas.checking import schema_checks
from organizations.models import AuditEntry, Role
from tests.conftest import Tenant, make_tenant
from tests.factories import TESTER, make_events
from tests.support.people.console_site import Site, actions, as_role, errors, staff

SCHEMA = '{"type": "object", "required": ["amount"], "examples": [{"amount": 12900}]}'


@pytest.fixture
def member(tenant: Tenant) -> Site:
    return as_role(tenant.organization, Role.MEMBER)


@pytest.fixture
def described(tenant: Tenant) -> EventType:
    """A type whose events must have an amount."""
    changes = EventTypeChanges(schema=SCHEMA, validation=Validation.REJECT)
    return create_event_type(organization=tenant.organization, name="invoice.paid", changes=changes, actor=TESTER)


def fields(**values: Any) -> dict[str, Any]:
    return {"step": "send", "type": "invoice.paid", "data": '{"amount": 1.10}', **values}


def only_event() -> Event:
    return Event.objects.get()


def test_a_sent_event_is_shown_and_is_in_the_audit_log(member: Site) -> None:
    page = member.follow("send/", **fields(subject="inv_1", source="/billing", idempotency_key="inv_1-paid"))
    event = only_event()
    assert "The event was accepted." in page
    assert f"{event.pk}" in page
    sent = (event.type, event.data, event.subject, event.source, event.idempotency_key)
    assert sent == ("invoice.paid", '{"amount": 1.10}', "inv_1", "/billing", "inv_1-paid")
    entry = AuditEntry.objects.get(action="event.sent")
    assert (entry.target_id, entry.organization) == (str(event.pk), member.organization)


def test_what_is_left_empty_is_left_out(member: Site) -> None:
    member.follow("send/", **fields(data='[\r\n  "a"\r\n]'))
    event = only_event()
    assert (event.data, event.subject, event.source, event.idempotency_key) == ('[  "a"]', None, None, None)


def test_a_second_click_sends_nothing(member: Site) -> None:
    for _ in range(2):
        page = member.follow("send/", **fields(idempotency_key="once"))
    assert "nothing was added" in page
    assert Event.objects.count() == 1
    assert actions(member.organization).count("event.sent") == 1


def test_another_event_with_the_same_key_is_refused_at_the_key(member: Site) -> None:
    member.follow("send/", **fields(idempotency_key="once"))
    answer = member.post("send/", **fields(data="2", idempotency_key="once"))
    assert "Use a new key" in errors(answer)
    assert "idempotency_key" in answer.context["form"].errors


def test_all_that_is_wrong_is_said_at_once(member: Site, described: EventType) -> None:
    answer = member.post(
        "send/",
        **fields(
            data='{"total": 1}', source="/platform", idempotency_key="op:1", deliver_at="tomorrow", subject="x" * 1_025
        ),
    )
    found = answer.context["form"].errors
    assert set(found) == {"data", "source", "idempotency_key", "deliver_at", "subject"}
    assert "required" in errors(answer)
    assert not Event.objects.exists()


def test_a_time_too_far_ahead_does_not_hide_what_the_schema_says(member: Site, described: EventType) -> None:
    later = (timezone.now() + timedelta(days=40)).strftime("%Y-%m-%dT%H:%M:%SZ")
    answer = member.post("send/", **fields(data="{}", deliver_at=later))
    assert set(answer.context["form"].errors) == {"data", "deliver_at"}


def test_an_event_for_later_is_scheduled(member: Site) -> None:
    later = (timezone.now() + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    page = member.follow("send/", **fields(deliver_at=later))
    assert "Scheduled" in page


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ('{\r\n  "amount": 1,\r\n}', "in line 3, column 1"),
        ("", "This field is required"),
        (f'"{"x" * 262_144}"', "data is over 262144 bytes"),
        ('"\\u0000"', "NUL character"),
        ("1e400", "beyond the range"),
        ("[" * 65 + "]" * 65, "nested deeper than 64"),
    ],
)
def test_data_that_cannot_be_sent_is_refused_at_its_field(member: Site, data: str, said: str) -> None:
    answer = member.post("send/", **fields(data=data))
    assert said in errors(answer).replace("&quot;", '"')
    assert set(answer.context["form"].errors) == {"data"}


def test_what_the_plan_does_not_allow_says_when_to_come_again(member: Site) -> None:
    member.organization.events_per_minute_override = 1
    member.organization.save()
    member.follow("send/", **fields())
    found = errors(member.post("send/", **fields()))
    assert "The limit is 1 events a minute" in found
    assert "Send it again in" in found
    assert Event.objects.count() == 1


def test_a_refused_one_is_among_the_rejected(member: Site, described: EventType) -> None:
    assert member.post("send/", **fields(data="{}")).status_code == 422
    run_now(record_rejections(SyncRedis()))
    assert "the form of the console" in member.page("rejected/")


def test_an_example_is_that_of_the_schema(member: Site, described: EventType) -> None:
    make_events(member.organization, 1, type="invoice.paid", data={"amount": 7})
    assert member.get("send/?type=invoice.paid").context["form"].initial["data"] == '{\n  "amount": 12900\n}'


def test_without_one_it_is_the_newest_event_and_the_rest_stays_as_typed(member: Site) -> None:
    make_events(member.organization, 1, type="user.created", data={"id": 7})
    answer = member.post("send/", **fields(step="example", type="user.created", subject="mine"))
    initial = answer.context["form"].initial
    assert (initial["data"], initial["subject"]) == ('{\n  "id": 7\n}', "mine")
    answer = member.post("send/", **fields(step="example", type="no.such", data="[1]"))
    assert answer.context["form"].initial["data"] == "[1]"
    assert "There is no example" in answer.content.decode()


def test_who_may_not_send_is_not_led_there(tenant: Tenant) -> None:
    make_events(tenant.organization, 1)
    looking_on = as_role(tenant.organization, Role.VIEWER), staff(tenant.organization)
    for site in (*looking_on, staff(tenant.organization, operator=True)):
        assert site.post("send/", **fields()).status_code == 403
        assert "Send an event" not in site.page("events/")
    assert Event.objects.count() == 1


def test_a_suspended_organization_sends_nothing(member: Site) -> None:
    member.organization.suspended_at = timezone.now()
    member.organization.save()
    answer = member.post("send/", **fields())
    assert (answer.status_code, Event.objects.count()) == (403, 0)
    assert "suspended" in answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_while_the_schema_is_asked(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """Others' checks may come first, each for half a second."""
    settings.DATABASE_POOL_SIZE = 1
    held: list[object] = []
    tenant, check = make_tenant(), schema_checks._ask
    changes = EventTypeChanges(schema=SCHEMA, validation=Validation.REJECT)
    create_event_type(organization=tenant.organization, name="invoice.paid", changes=changes, actor=TESTER)

    def check_and_tell(*given: Any) -> Any:
        held.append(connection.connection)
        return check(*given)

    monkeypatch.setattr(schema_checks, "_ask", check_and_tell)
    member = as_role(tenant.organization, Role.MEMBER)
    member.follow("send/", **fields())
    member.post("send/", **fields(data="{}"))
    assert held
    assert set(held) == {None}
    assert only_event().type == "invoice.paid"
