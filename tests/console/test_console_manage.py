"""The pages by which members help themselves: who sees and does what, and what each form does."""

import re
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from core.secrets import decrypt_secret
from delivery.endpoints.sealed_headers import open_headers
from delivery.models import DeadLetterRetry, Delivery, DeliveryStatus, Replay, Subscription, SubscriptionKind
from delivery.operations import run_dead_letter_retries, run_replays, subscription_fields
from delivery.ordering.queues import go_on_now
from delivery.webhooks import guard
from ingestion.models import EventType, IntakeCount
from ingestion.operations import process_outbox
from organizations.audit import Actor, record
from organizations.keys.scopes import Scope
from organizations.models import ApiKey, Organization, Role
from organizations.operations import issue_key
from tests.conftest import Tenant
from tests.factories import TESTER, make_organization
from tests.support.events.ordering import put
from tests.support.http.receiver import receiving
from tests.support.people.console_data import Scene, make_scene
from tests.support.people.console_site import Site, actions, as_role, errors

pytestmark = pytest.mark.slow

OWNER, ADMIN, MEMBER, VIEWER = Role.OWNER, Role.ADMIN, Role.MEMBER, Role.VIEWER


@pytest.fixture(autouse=True)
def _no_name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names resolve to nothing, so that no test depends on a network; addresses are vetted all the same."""
    monkeypatch.setattr(subscription_fields, "check_destination", guard.check_url)


@pytest.fixture
def scene(tenant: Tenant) -> Scene:
    return make_scene(tenant)


@pytest.fixture
def member(tenant: Tenant) -> Site:
    return as_role(tenant.organization, MEMBER)


@pytest.fixture
def admin(tenant: Tenant) -> Site:
    return as_role(tenant.organization, ADMIN)


# --- Keys ----------------------------------------------------------------------------------------------------


def test_a_key_is_issued_and_shown_once(admin: Site) -> None:
    page = admin.follow("keys/issue", name="Billing", scopes=["events:write"], days="30")
    key = ApiKey.objects.get(name="Billing")
    assert re.search(rf"evp_live_{key.public_id}\w+", page)
    assert f"evp_live_{key.public_id}" not in admin.page("keys/")
    assert key.expires_at is not None
    assert actions(admin.organization)[-1] == "api_key.issued"


def test_a_key_in_the_session_is_encrypted(admin: Site) -> None:
    admin.post("keys/issue", name="Billing", scopes=["events:write"])
    assert "evp_live_" not in str(dict(admin.client.session))


def test_a_key_needs_a_name_and_a_scope(admin: Site) -> None:
    found = errors(admin.post("keys/issue", name="", scopes=[]))
    assert "This field is required" in found
    assert "Choose at least one" in found
    assert "valid choice" in errors(admin.post("keys/issue", name="x", scopes=["all"]))


def test_a_key_is_rotated_with_an_overlap(tenant: Tenant, admin: Site) -> None:
    assert "Rotate" in admin.page(f"keys/{tenant.key.pk}/rotate")
    page = admin.follow(f"keys/{tenant.key.pk}/rotate", overlap="3600")
    tenant.key.refresh_from_db()
    assert tenant.key.expires_at is not None
    successor = ApiKey.objects.get(organization=tenant.organization, expires_at=None)
    assert f"evp_live_{successor.public_id}" in page
    assert successor.scopes == tenant.key.scopes


def test_a_key_is_revoked_after_a_confirmation(tenant: Tenant, admin: Site) -> None:
    assert "Revoke" in admin.page(f"keys/{tenant.key.pk}/revoke")
    tenant.key.refresh_from_db()
    assert tenant.key.revoked_at is None
    assert "was revoked" in admin.follow(f"keys/{tenant.key.pk}/revoke")
    tenant.key.refresh_from_db()
    assert tenant.key.revoked_at is not None
    assert "had already been revoked" in admin.follow(f"keys/{tenant.key.pk}/revoke")
    refused = admin.post(f"keys/{tenant.key.pk}/rotate", overlap="0")
    assert refused.status_code == 409
    assert "no successor" in refused.content.decode()


def test_an_organization_without_keys_is_told_so(db: None) -> None:
    assert "No keys yet" in as_role(make_organization(), MEMBER).page("keys/")


# --- Subscriptions -------------------------------------------------------------------------------------------


def test_subscriptions_show_their_health(scene: Scene, member: Site) -> None:
    page = member.page("subscriptions/")
    assert "failing" in page
    assert "It answers with an error" in page
    assert "1 delivered, 1 failed attempts" in page
    assert f"subscriptions/{scene.webhook.pk}/dead-letters/" in page
    assert "Billing" not in member.page("subscriptions/?kind=inbox")
    detail = member.page(f"subscriptions/{scene.webhook.pk}/")
    assert "50 %" in detail
    assert "invoice.paid" in detail


def test_a_webhook_is_made_and_its_secret_shown_once(member: Site) -> None:
    page = member.follow(
        "subscriptions/new",
        url="https://example.com/hook",
        name="Ledger",
        event_types="invoice.*\r\n\r\nuser.created",
        filter='{"data.amount": {"gte": 1000}}',
        headers="Authorization: Bearer 0123456789abcdef",
    )
    made = Subscription.objects.get(name="Ledger")
    assert made.event_types == ["invoice.*", "user.created"]
    assert made.filter == {"data.amount": {"gte": 1000}}
    assert open_headers(made.headers) == {"Authorization": "Bearer 0123456789abcdef"}
    assert decrypt_secret(made.secret) in page
    again = member.page(f"subscriptions/{made.pk}/")
    assert decrypt_secret(made.secret) not in again
    assert "0123456789abcdef" not in again


def test_an_inbox_is_made(member: Site) -> None:
    member.follow("subscriptions/new?kind=inbox", name="ledger", event_types="*", max_leases="5")
    made = Subscription.objects.get(name="ledger")
    assert (made.kind, made.max_leases) == (SubscriptionKind.INBOX, 5)
    again = member.post("subscriptions/new?kind=inbox", name="ledger", event_types="*", max_leases="5")
    assert "has an inbox of this name" in errors(again)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"url": ""}, "This field is required"),
        ({"url": "ftp://example.com"}, "http"),
        ({"url": "https://127.0.0.1/"}, "address"),
        ({"event_types": ""}, "Name at least one"),
        ({"event_types": "invoice.*\nno spaces"}, "Line 2: An event type has"),
        ({"filter": '{"data.amount": }'}, "in line 1, column"),
        ({"filter": '{"data.amount": {"over": 1}}'}, "data.amount, over: The operators are"),
        ({"filter": '{"type": "\\u0000"}'}, "NUL"),
        ({"filter": "[1]"}, "A filter is an object"),
        ({"headers": "no colon"}, "Line 1: a header is Name: value"),
        ({"headers": "Host: example.com"}, "Host: The platform sets this header itself"),
        ({"headers": "X-A: 1\nx-a: 2"}, "Line 2: x-a is given twice"),
        ({"name": "n\x00"}, "Null characters are not allowed"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(member: Site, values: dict[str, str], words: str) -> None:
    given = {"url": "https://example.com/", "event_types": "*", **values}
    answer = member.post("subscriptions/new", **given)
    assert words in errors(answer).replace("&#x27;", "'")
    assert not Subscription.objects.filter(kind=SubscriptionKind.WEBHOOK).exists()
    for name in values.keys() & {"filter", "headers"}:
        assert re.search(rf'name="{name}"[^>]*aria-invalid="true"', answer.content.decode())


def test_everything_that_is_wrong_is_said_at_once(member: Site) -> None:
    """What the form cannot read, and what the operation would refuse."""
    values = {"url": "ftp://example.com", "event_types": "*.paid", "headers": "nonsense", "filter": "{"}
    found = errors(member.post("subscriptions/new?kind=webhook", **values))
    for words in ("Line 1: a header is Name: value.", "This is not JSON", "Line 1: ", "https"):
        assert words in found, words


def test_a_subscription_is_changed_and_a_masked_header_stays(scene: Scene, member: Site) -> None:
    Subscription.objects.filter(pk=scene.webhook.pk).update(headers={"Authorization": "Bearer 0123456789abcdef"})
    page = member.page(f"subscriptions/{scene.webhook.pk}/edit")
    assert "Authorization: ****cdef" in page
    member.follow(
        f"subscriptions/{scene.webhook.pk}/edit",
        url=scene.webhook.url,
        name="Bills",
        event_types="*",
        headers="Authorization: ****cdef\nX-More: 1",
    )
    scene.webhook.refresh_from_db()
    assert scene.webhook.name == "Bills"
    assert open_headers(scene.webhook.headers) == {"Authorization": "Bearer 0123456789abcdef", "X-More": "1"}


def test_the_default_inbox_offers_only_what_can_be_changed(scene: Scene, member: Site) -> None:
    inbox = Subscription.objects.get(organization=scene.organization, name="default")
    page = member.page(f"subscriptions/{inbox.pk}/edit")
    assert "max_leases" in page
    assert 'name="event_types"' not in page
    member.follow(f"subscriptions/{inbox.pk}/edit", max_leases="7", description="For all")
    inbox.refresh_from_db()
    assert (inbox.max_leases, inbox.event_types) == (7, ["*"])
    assert member.post(f"subscriptions/{inbox.pk}/delete").status_code == 409


def test_a_subscription_is_paused_and_resumed(scene: Scene, member: Site) -> None:
    assert "Paused" in member.follow(f"subscriptions/{scene.webhook.pk}/pause")
    assert "held" in member.page(f"subscriptions/{scene.webhook.pk}/deliveries/?status=held")
    assert "Resumed" in member.follow(f"subscriptions/{scene.webhook.pk}/resume")
    scene.webhook.refresh_from_db()
    assert scene.webhook.status == "active"


def test_a_subscription_is_deleted_after_a_confirmation(scene: Scene, member: Site) -> None:
    assert "cannot be undone" in member.page(f"subscriptions/{scene.webhook.pk}/delete")
    assert "was deleted" in member.follow(f"subscriptions/{scene.webhook.pk}/delete")
    assert member.get(f"subscriptions/{scene.webhook.pk}/").status_code == 404


def test_a_secret_is_rotated_and_shown_once(tenant: Tenant, member: Site) -> None:
    member.post("subscriptions/new", url="https://example.com/hook", event_types="*")
    made = Subscription.objects.get(kind=SubscriptionKind.WEBHOOK)
    old = decrypt_secret(made.secret)
    member.page(f"subscriptions/{made.pk}/")
    page = member.follow(f"subscriptions/{made.pk}/secret/rotate", overlap="3600")
    made.refresh_from_db()
    assert decrypt_secret(made.secret) in page
    assert decrypt_secret(made.previous_secret) == old
    assert decrypt_secret(made.secret) not in member.page(f"subscriptions/{made.pk}/")


def test_a_secret_is_shown_with_an_audit_entry(member: Site) -> None:
    member.post("subscriptions/new", url="https://example.com/hook", event_types="*")
    made = Subscription.objects.get(kind=SubscriptionKind.WEBHOOK)
    member.page(f"subscriptions/{made.pk}/")
    assert "whsec_" not in member.page(f"subscriptions/{made.pk}/secret/show")
    assert decrypt_secret(made.secret) in member.follow(f"subscriptions/{made.pk}/secret/show")
    assert actions(member.organization)[-1] == "subscription.secret_shown"


@pytest.mark.django_db(transaction=True)
def test_a_test_shows_the_answer(tenant: Tenant, settings: Any) -> None:
    settings.WEBHOOK_ALLOW_HTTP = True
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]
    member = as_role(tenant.organization, MEMBER)
    with receiving() as receiver:
        for path in ("ok", "status/503"):
            member.post("subscriptions/new", url=f"{receiver.url}/{path}", name=path, event_types="*")
        good, bad = (Subscription.objects.get(name=name) for name in ("ok", "status/503"))
        taken = member.post(f"subscriptions/{good.pk}/test", type="webhook.test", payload='{"n": 1}')
        refused = member.post(f"subscriptions/{bad.pk}/test", type="webhook.test", payload="{}")
        assert receiver.received[0].body.count(b'"n"') == 1
    assert "The endpoint accepted it" in taken.content.decode()
    assert "did not accept it" in refused.content.decode()
    assert "not JSON" in errors(member.post(f"subscriptions/{good.pk}/test", type="a", payload="{"))


def test_an_inbox_has_no_secret_and_no_test(scene: Scene, member: Site) -> None:
    inbox = Subscription.objects.get(organization=scene.organization, name="default")
    for path in ("secret/rotate", "secret/show", "test"):
        assert member.get(f"subscriptions/{inbox.pk}/{path}").status_code == 409


# --- Deliveries, dead letters, replays -----------------------------------------------------------------------


def test_deliveries_are_listed_by_status_and_keyset(scene: Scene, member: Site) -> None:
    path = f"subscriptions/{scene.webhook.pk}/deliveries/"
    assert "Dead letter" in member.page(path)
    assert "No delivery is delivered" in member.page(f"{path}?status=delivered")
    below = member.page(f"{path}?before={scene.dead.pk}")
    assert str(scene.dead.pk) not in below
    assert "Newest" in below
    detail = member.page(f"{path}{scene.dead.pk}/")
    assert "&lt;h1&gt;Sorry&lt;/h1&gt;" in detail
    assert "http_error" in detail


def test_one_delivery_is_retried(scene: Scene, member: Site) -> None:
    assert "due now" in member.follow(f"subscriptions/{scene.webhook.pk}/deliveries/{scene.dead.pk}/retry")
    scene.dead.refresh_from_db()
    assert scene.dead.status == DeliveryStatus.PENDING


def test_what_holds_its_key_is_shown_and_skipped(scene: Scene, member: Site) -> None:
    hook = f"subscriptions/{scene.webhook.pk}"
    form = {"url": scene.webhook.url, "event_types": "*", "on_dead_letter": "hold"}
    assert "In order by" in member.follow(f"{hook}/edit", **form, order_by="subject")
    assert "data.&lt;name&gt;" in errors(member.post(f"{hook}/edit", **form, order_by="amount"))
    ids = put(scene.organization, "a", "a")
    process_outbox()
    go_on_now()
    head, waiting = (Delivery.objects.get(event_id=pk, subscription=scene.webhook).pk for pk in ids)
    Delivery.objects.filter(pk=head).update(status=DeliveryStatus.DEAD_LETTER, next_attempt_at=None)
    page = member.page(f"{hook}/deliveries/{waiting}/")
    assert "an earlier event of its key" in page
    assert f"/deliveries/{head}/" in page
    assert f"{waiting}/retry" not in page
    assert "Later events of its key wait" in member.page(f"{hook}/deliveries/{head}/")
    assert "the next event with its key is sent" in member.follow(f"{hook}/deliveries/{head}/skip")
    assert f"{head}/skip" not in member.page(f"{hook}/deliveries/{head}/")
    go_on_now()
    assert "an earlier event" not in member.page(f"{hook}/deliveries/{waiting}/")


def give_up_all(scene: Scene) -> list[UUID]:
    rows = Delivery.objects.filter(subscription=scene.webhook)
    rows.update(status=DeliveryStatus.DEAD_LETTER, next_attempt_at=None)
    return list(rows.values_list("pk", flat=True))


def test_a_selection_of_dead_letters_is_retried(scene: Scene, member: Site) -> None:
    ids = give_up_all(scene)
    path = f"subscriptions/{scene.webhook.pk}/dead-letters/"
    assert member.page(path).count('type="checkbox"') == len(ids)
    assert "2 deliveries are due now" in member.follow(f"{path}retry", delivery=[*map(str, ids[:2]), "no id"])
    assert Delivery.objects.filter(pk__in=ids, status=DeliveryStatus.PENDING).count() == 2
    assert "Select the dead letters" in member.follow(f"{path}retry")


def test_all_dead_letters_are_retried_after_their_count(scene: Scene, member: Site) -> None:
    ids = give_up_all(scene)
    path = f"subscriptions/{scene.webhook.pk}/dead-letters/"
    assert f"Retry {len(ids)} dead letters?" in member.page(f"{path}retry-all")
    assert Delivery.objects.filter(pk__in=ids, status=DeliveryStatus.PENDING).count() == 0
    page = member.follow(f"{path}retry-all")
    assert f"0 of {len(ids)} tried again" in page
    assert 'hx-trigger="every 2s"' in page
    job = f"jobs/{DeadLetterRetry.objects.get().pk}/"
    run_dead_letter_retries(seconds=5)
    part = member.page(f"{job}?part")
    assert "<html" not in part
    assert f"Of {len(ids)}: 0 delivered, 0 failed again, {len(ids)} waiting" in part
    assert "had already ended" in member.follow(f"{job}cancel")
    assert "No dead letters are left" in member.page(f"{path}retry-all")
    assert "No dead letters" in member.page(path)


def test_very_many_dead_letters_are_retried_by_a_job_that_can_be_cancelled(
    scene: Scene, member: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_up_all(scene)
    monkeypatch.setattr("delivery.operations.dead_letters.MAX_SHOWN", 3)
    path = f"subscriptions/{scene.webhook.pk}/dead-letters/retry-all"
    assert "Retry more than 3 dead letters?" in member.page(path)
    member.follow(path)
    job = DeadLetterRetry.objects.get()
    assert "is cancelled" in member.follow(f"jobs/{job.pk}/cancel")
    assert "had already ended" in member.follow(f"jobs/{job.pk}/cancel")
    run_dead_letter_retries(seconds=5)
    assert "Retry more than 3 dead letters?" in member.page(path)


def replay_window(**values: Any) -> dict[str, Any]:
    return {
        "received_after": "2020-01-01T00:00",
        "received_before": "2099-01-01T00:00:00",
        "event_types": "invoice.*",
        **values,
    }


def test_a_replay_is_counted_started_watched_and_cancelled(scene: Scene, member: Site) -> None:
    path = f"subscriptions/{scene.webhook.pk}/replay"
    counted = member.post(path, **replay_window(step="count"))
    assert "7 events" in counted.content.decode()
    assert not Replay.objects.exists()
    page = member.follow(path, **replay_window(step="start"))
    replay = Replay.objects.get()
    assert "0 of 7 events examined" in page
    assert 'hx-trigger="every 2s"' in page
    run_replays(seconds=1)
    part = member.page(f"replays/{replay.pk}/?part")
    assert "<html" not in part
    assert "7 deliveries created" in part
    assert "Cancel this replay?" in member.page(f"replays/{replay.pk}/cancel")
    assert member.post(f"jobs/{replay.pk}/cancel").status_code == 404
    assert "was canceled" in member.follow(f"replays/{replay.pk}/cancel")
    assert "had already ended" in member.follow(f"replays/{replay.pk}/cancel")
    assert str(replay.pk) in member.page("replays/")


def test_a_replay_says_what_is_wrong(scene: Scene, member: Site) -> None:
    path = f"subscriptions/{scene.webhook.pk}/replay"
    backwards = replay_window(received_before="2019-01-01T00:00")
    assert "must be before" in errors(member.post(path, **backwards))
    assert "Line 1: An event type" in errors(member.post(path, **replay_window(event_types="no spaces")))
    assert "valid date" in errors(member.post(path, **replay_window(received_after="soon")))
    assert "There are no such events" in member.post(path, **replay_window(event_types="none")).content.decode()


# --- Event types ---------------------------------------------------------------------------------------------

SCHEMA = '{"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}}'


def type_of(organization: Organization, name: str = "invoice.paid") -> EventType:
    return EventType.objects.get(organization=organization, name=name)


def test_event_types_show_their_trend(scene: Scene, member: Site) -> None:
    page = member.page("event-types/")
    assert "7 events in the last 7 days" in page
    assert "user.created" not in member.page("event-types/?q=invoice.")
    assert "No type starts with" in member.page("event-types/?q=zzz")
    assert "invoice.paid" not in member.page("event-types/?after=invoice.paid")
    detail = member.page(f"event-types/{type_of(scene.organization).pk}/")
    assert "Newest example" in detail
    assert "12900" in detail


def test_a_schema_is_checked_with_a_sample_and_put_in_force(scene: Scene, member: Site) -> None:
    found = type_of(scene.organization)
    path = f"event-types/{found.pk}/edit"
    values = {"description": "Money", "schema": SCHEMA, "validation": "reject"}
    good = member.post(path, **values, step="check", sample='{"amount": 1}')
    assert "The sample matches the schema" in good.content.decode()
    bad = member.post(path, **values, step="check", sample='{"amount": "1"}').content.decode()
    assert "does not match" in bad
    assert "/data/amount" in bad
    found.refresh_from_db()
    assert found.schema is None
    assert "takes effect" in member.follow(path, **values, step="save")
    found.refresh_from_db()
    assert (found.validation, found.description) == ("reject", "Money")
    assert actions(scene.organization)[-1] == "event_type.updated"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"schema": "{"}, "This is not JSON"),
        ({"schema": '{"type": 1}', "validation": "warn"}, "At /type"),
        ({"schema": "", "validation": "reject"}, "only with a schema"),
        ({"schema": '{"type": 1}', "step": "check", "sample": "1"}, "At /type"),
        ({"schema": "", "step": "check"}, "Checking requires a schema and a sample"),
        ({"validation": "maybe"}, "valid choice"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(
    scene: Scene, member: Site, values: dict[str, str], words: str
) -> None:
    path = f"event-types/{type_of(scene.organization).pk}/edit"
    answer = member.post(path, **{"validation": "off", "schema": SCHEMA, "step": "save", **values})
    assert words in errors(answer)


def test_a_type_is_described_before_its_first_event_and_deleted(member: Site) -> None:
    assert "No event types yet" in member.page("event-types/")
    member.follow("event-types/new", name="order.made", validation="warn", schema=SCHEMA)
    found = type_of(member.organization, "order.made")
    again = member.post("event-types/new", name="order.made", validation="off")
    assert "described an event type of this name" in errors(again)
    assert "A-Za-z0-9" in errors(member.post("event-types/new", name="no spaces", validation="off"))
    assert "Delete" in member.page(f"event-types/{found.pk}/delete")
    member.follow(f"event-types/{found.pk}/delete")
    assert member.get(f"event-types/{found.pk}/").status_code == 404


# --- Usage, audit log ----------------------------------------------------------------------------------------


def test_usage_shows_counts_and_limits(scene: Scene, member: Site) -> None:
    page = member.page("usage/")
    assert "of 100<" in page
    assert "validation_failed" in page
    assert "2 of 100<" in page


def test_usage_tells_of_refused_events(tenant: Tenant, member: Site) -> None:
    minute = timezone.now().replace(second=0, microsecond=0)
    for outcome, count in (("accepted", 100), ("rate_limited", 7)):
        IntakeCount.objects.create(organization=tenant.organization, minute=minute, outcome=outcome, count=count)
    page = member.page("usage/")
    assert "7 events in the last 24 hours were refused" in page
    assert 'class="high"' in page


def test_usage_of_nothing(db: None) -> None:
    assert "Nothing was sent" in as_role(make_organization(), VIEWER).page("usage/")


def test_two_scopes_of_a_new_key_are_no_change_of_one(tenant: Tenant, admin: Site) -> None:
    issue_key(
        organization=tenant.organization, name="Two", scopes=[Scope.EVENTS_READ, Scope.EVENTS_WRITE], actor=TESTER
    )
    page = admin.page("audit/")
    assert "events:read, events:write" in page
    assert "events:read → events:write" not in page


def test_the_audit_log_is_filtered_and_paged(tenant: Tenant, admin: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(60):
        record(
            actor=Actor.system(f"robot {number}"),
            action="subscription.paused" if number % 2 else "replay.created",
            target=tenant.organization,
            organization=tenant.organization,
            changes={"status": ["active", "paused"]},
        )
    page = admin.page("audit/")
    assert re.search(r"from</span>\s*<code>active</code>.*?to</span>\s*<code>paused</code>", page, re.DOTALL)
    assert "robot 59" in page
    assert "robot 5<" not in page
    older = re.search(r'href="(\?before=[^"]+)" rel="next"', page)
    assert older
    assert "robot 5\n" in admin.page(f"audit/{older[1]}").replace("<", "\n")
    assert "robot 59" not in admin.page("audit/?action=replay")
    assert "robot 58" in admin.page("audit/?action=replay&actor=ROBOT")
    assert "No entry matches" in admin.page("audit/?actor=nobody")
    monkeypatch.setattr("console.audit.queries.LOOKED_AT", 10)
    bounded = admin.page("audit/?actor=robot+3")
    assert "Entries were searched back to" in bounded
    assert 'rel="next"' in bounded


def test_an_audit_log_without_entries(db: None) -> None:
    assert "Nothing has been changed yet" in as_role(make_organization(), ADMIN).page("audit/")
