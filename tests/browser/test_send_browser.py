"""Sending an event by the form, in a real browser."""

import pytest
from playwright.sync_api import expect

from ingestion.models import Event, Validation
from ingestion.operations.event_types import EventTypeChanges, create_event_type
from tests.conftest import Tenant
from tests.factories import TESTER, make_events
from tests.support.people.console_visit import Visit
from tests.support.people.people_browser import needs_chromium

pytestmark = [needs_chromium, pytest.mark.django_db(transaction=True), pytest.mark.slow]
SCHEMA = '{"required": ["amount"], "examples": [{"amount": 12900}]}'


def test_from_a_types_page_to_the_event_that_was_sent(visit: Visit, tenant: Tenant) -> None:
    changes = EventTypeChanges(schema=SCHEMA, validation=Validation.REJECT)
    described = create_event_type(organization=tenant.organization, name="invoice.paid", changes=changes, actor=TESTER)
    make_events(tenant.organization, 1)
    page = visit.go(f"event-types/{described.pk}/")
    page.get_by_role("link", name="Send one").click()
    data = page.get_by_label("Data")
    expect(data).to_have_value('{\n  "amount": 12900\n}')
    data.fill('{\n  "amount": 1,\n}')
    page.get_by_label("Subject").fill("inv_7")
    page.get_by_label("Deliver at").fill("2020-01-01T12:00:30")
    page.get_by_label("Subject").press("Enter")
    expect(page.get_by_text("in line 3, column 1")).to_be_visible()
    expect(page.get_by_label("Deliver at")).to_have_value("2020-01-01T12:00:30")
    data.fill('{"amount": 1}')
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("The event was accepted.")).to_be_visible()
    expect(page.locator("h1")).to_have_text("invoice.paid")
    assert [line for line in visit.complaints if "422" not in line] == []
    assert Event.objects.get(subject="inv_7").data == '{"amount": 1}'
