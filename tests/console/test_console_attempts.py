"""One attempt on its page: signature, curl, comparison, and the same with other data."""

import html
import os
import re
import shlex
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
from django.utils import timezone
from uuid_utils.compat import uuid7

from console.drawing.timing_bars import timing_bar
from core.secrets import encrypt_secret
from delivery.api.delivery_schemas import TimingsShown
from delivery.attempts.exchange import Timings
from delivery.attempts.headers import shown_request_headers
from delivery.attempts.records import AttemptRecord, pack
from delivery.attempts.verification import webhook_body
from delivery.models import Attempt, Delivery, DeliveryStatus, Subscription
from delivery.webhooks.signing import generate_secret, secret_key
from delivery.webhooks.webhook_requests import build_request
from ingestion.models import Event
from organizations.models import AuditEntry, Role
from tests.conftest import Tenant
from tests.factories import make_delivery, make_events, make_webhook
from tests.support.people.console_site import as_role, staff

pytestmark = pytest.mark.slow

SECRET = generate_secret()


@pytest.fixture
def webhook(tenant: Tenant) -> Subscription:
    return make_webhook(tenant.organization, name="Billing")


@pytest.fixture
def attempted(tenant: Tenant, webhook: Subscription) -> Delivery:
    """Twice, with records of what was sent."""
    Subscription.objects.filter(pk=webhook.pk).update(secret=encrypt_secret(SECRET), headers={})
    [event] = make_events(tenant.organization, 1, timezone.now() - timedelta(minutes=5), data={"name": "Zoë's"})
    delivery = make_delivery(event, webhook, DeliveryStatus.DEAD_LETTER, last_error="http_error", attempts=2)
    body = webhook_body(event)
    for number in (1, 2):
        now = timezone.now()
        request = build_request(
            url=webhook.url, secrets=[secret_key(SECRET)], headers={"X-Token": "s3cr3t-of-the-tenant"},
            event_id=event.pk, event_type=event.type, received_at=event.received_at, data=event.data, now=now,
        )  # fmt: skip
        assert request.body == body
        record = AttemptRecord(
            started_at=now, status=500, url=webhook.url, remote_address="192.0.2.1", timings=Timings(3, 8, 12, 19),
            request_headers=shown_request_headers(request.url, request.headers, length=len(body)),
            response_headers={"X-Answer": f"number {number}"}, detail="The endpoint answered 500.",
        )  # fmt: skip
        Attempt.objects.create(
            id=uuid7(), organization_id=webhook.organization_id, subscription_id=webhook.pk, delivery_id=delivery.pk,
            number=number, started_at=now, duration_ms=50, status_code=500, error="http_error",
            record=pack(record, event_id=event.pk),
        )  # fmt: skip
    return delivery


def test_a_signature_can_be_checked_with_the_commands_of_the_page(
    tenant: Tenant, webhook: Subscription, attempted: Delivery, tmp_path: Path
) -> None:
    site = as_role(tenant.organization, Role.MEMBER)
    path = f"subscriptions/{webhook.pk}/deliveries/{attempted.pk}/"
    page = html.unescape(site.page(f"{path}attempts/2/"))
    assert "made with the subscription's current signing secret" in page
    assert SECRET not in page
    signature = re.search(r"<code>v1,([^<]+)</code>", page)
    assert signature
    (tmp_path / "body.json").write_bytes(site.get(f"{path}body").content)
    openssl, python = re.findall(r'<details class="snippet".*?<pre tabindex="0">(.*?)</pre>', page, re.DOTALL)
    environment = {**os.environ, "WEBHOOK_SECRET": SECRET}
    for command in (["bash", "-c", openssl], [sys.executable, "-c", python]):
        printed = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True, timeout=60)
        assert printed.stdout.decode().strip() == signature[1], command


def test_an_attempt_can_be_copied_as_curl_and_compared(
    tenant: Tenant, webhook: Subscription, attempted: Delivery
) -> None:
    site = as_role(tenant.organization, Role.MEMBER)
    path = f"subscriptions/{webhook.pk}/deliveries/{attempted.pk}/attempts/"
    page = html.unescape(site.page(f"{path}1/?with=2"))
    assert "number 1" in page
    assert "number 2" in page
    assert "s3cr3t" not in page
    command = re.search(r'<pre id="curl" tabindex="0">(.*?)</pre>', page, re.DOTALL)
    assert command
    words = shlex.split(command[1].replace("\\\n", " "))
    assert words[:3] == ["curl", "-i", webhook.url]
    assert words[-1].encode() == webhook_body(Event.objects.get())
    assert any(word.startswith("webhook-signature: v1,") for word in words)
    assert site.get(f"{path}9/").status_code == 404


def test_another_secret_is_told_from_the_one_that_signed(
    tenant: Tenant, webhook: Subscription, attempted: Delivery
) -> None:
    path = f"subscriptions/{webhook.pk}/deliveries/{attempted.pk}/attempts/1/"
    Subscription.objects.filter(pk=webhook.pk).update(secret=encrypt_secret(generate_secret()))
    assert "no longer has" in as_role(tenant.organization, Role.MEMBER).page(path)


def test_who_may_not_read_data_sees_neither_body_nor_signature(
    tenant: Tenant, webhook: Subscription, attempted: Delivery
) -> None:
    page = staff(tenant.organization).page(f"subscriptions/{webhook.pk}/deliveries/{attempted.pk}/attempts/1/")
    assert "u00eb" not in page
    assert "body.json" not in page
    assert "may not read the data of events" in page


def test_an_edited_event_goes_to_one_subscription_and_names_its_origin(
    tenant: Tenant, webhook: Subscription, attempted: Delivery
) -> None:
    site = as_role(tenant.organization, Role.MEMBER)
    path = f"subscriptions/{webhook.pk}/test?delivery={attempted.pk}"
    assert "Zo\\u00eb" in html.unescape(site.page(path))
    with mock.patch("delivery.webhooks.test_send._send", side_effect=RuntimeError), pytest.raises(RuntimeError):
        site.post(path, type="invoice.paid", payload='{"name": "Zoe"}')
    entry = AuditEntry.objects.get(action="subscription.tested")
    assert entry.changes == {"made_from": str(attempted.event_id)}
    assert "u00eb" not in site.page(f"subscriptions/{webhook.pk}/test?delivery=nonsense")


def test_the_bar_of_an_attempt_without_an_answer_says_in_which_step_it_ended() -> None:
    waited = TimingsShown(dns_ms=2, connect_ms=8, tls_ms=None, first_byte_ms=14_990, total_ms=15_000)
    assert [(each.name, each.ms) for each in timing_bar(waited, is_answered=False)] == [
        ("DNS", 2), ("Connect", 8), ("No answer", 14_990),
    ]  # fmt: skip
    refused = TimingsShown(dns_ms=0, connect_ms=0, tls_ms=None, first_byte_ms=None, total_ms=0)
    bar = timing_bar(refused, is_answered=False)
    assert [each.name for each in bar] == ["DNS", "Connect, failed"]
    # Too short to measure, and still to be seen.
    assert sum(each.width for each in bar) == pytest.approx(100)
    answered = timing_bar(TimingsShown(2, 8, None, 20, 40), is_answered=True)
    assert [(each.name, each.ms) for each in answered][-2:] == [("First byte", 20), ("Reading", 10)]
