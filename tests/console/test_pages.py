"""The pages for people: what each shows, and to whom."""

from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.test import Client

from delivery.models import DeliveryStatus, Subscription
from ingestion.models import Event
from ingestion.operations import process_outbox
from organizations.keys.scopes import Scope
from organizations.models import ApiKey, AuditEntry, Membership, Organization
from tests.conftest import Tenant
from tests.factories import UserFactory, make_delivery, make_organization, make_webhook


@pytest.fixture
def admin(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("casey"), backend="django.contrib.auth.backends.ModelBackend")
    return client


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def event_id(tenant: Tenant) -> str:
    sent = tenant.post("/api/v1/events", {"type": "invoice.paid", "data": {"amount": 12900}})
    process_outbox()
    found: str = sent.json()["id"]
    return found


def test_staff_see_the_events_of_all(admin: Client, tenant: Tenant, event_id: str) -> None:
    assert "invoice.paid" in admin.get("/console/events/").content.decode()
    page = admin.get(f"/console/o/{tenant.organization.slug}/events/{event_id}/").content.decode()
    assert "12900" in page
    assert "No subscriber" in page


def test_a_member_sees_only_its_own(tenant: Tenant, event_id: str) -> None:
    stranger, member = UserFactory.create(), UserFactory.create()
    Membership.objects.create(organization=make_organization(), user=stranger)
    Membership.objects.create(organization=tenant.organization, user=member)
    events = f"/console/o/{tenant.organization.slug}/events/"
    assert event_id in signed_in(member).get(events).content.decode()
    assert signed_in(member).get(f"{events}{event_id}/").status_code == 200
    assert signed_in(stranger).get(events).status_code == 404
    assert signed_in(stranger).get(f"{events}{event_id}/").status_code == 404


@pytest.mark.parametrize("path", ["/", "/console/"])
def test_one_is_led_to_ones_only_organization(tenant: Tenant, event_id: str, path: str) -> None:
    member = UserFactory.create()
    Membership.objects.create(organization=tenant.organization, user=member)
    led = signed_in(member).get(path, follow=True)
    assert led.status_code == 200
    assert led.redirect_chain[-1][0].startswith(f"/console/o/{tenant.organization.slug}/")


def test_sign_in_is_locked_after_ten_failures(db: None) -> None:
    user = UserFactory.create()
    client = Client()
    for _ in range(10):
        client.post("/console/sign-in/", {"username": user.username, "password": "wrong"})
    locked = client.post("/console/sign-in/", {"username": user.username, "password": "wrong"})
    assert locked.status_code == 429
    assert "Too many attempts" in locked.content.decode()


def test_pages_allow_no_inline_script(admin: Client, event_id: str) -> None:
    for path in (
        "/console/events/",
        "/console/organizations/",
        "/admin/",
        "/admin/ingestion/event/",
        "/admin/organizations/apikey/add/",
    ):
        page = admin.get(path)
        assert page["Content-Security-Policy"].count("unsafe") == 0
        assert "<script>" not in page.content.decode()
        assert " style=" not in page.content.decode()


@pytest.mark.parametrize(
    "model",
    [
        "organizations/organization", "organizations/membership", "organizations/apikey", "organizations/auditentry",
        "ingestion/event", "ingestion/eventtype", "ingestion/processingfailure", "delivery/subscription",
        "delivery/delivery",
    ],
)  # fmt: skip
def test_every_list_of_the_admin_opens(admin: Client, event_id: str, model: str) -> None:
    assert admin.get(f"/admin/{model}/").status_code == 200


def test_the_admin_shows_an_event_and_finds_it_by_id(tenant: Tenant, admin: Client, event_id: str) -> None:
    assert "12900" in admin.get(f"/admin/ingestion/event/{event_id}/change/").content.decode()
    assert "invoice.paid" in admin.get(f"/admin/ingestion/event/?q={event_id}").content.decode()
    chosen = urlencode({"organization__id__exact": str(tenant.organization.pk), "q": "invoice"})
    assert "invoice.paid" in admin.get(f"/admin/ingestion/event/?{chosen}").content.decode()
    assert admin.get("/admin/ingestion/event/?q=invoice").status_code == 200


def test_the_admin_leads_to_the_console(tenant: Tenant, admin: Client, event_id: str) -> None:
    home = f"/console/o/{tenant.organization.slug}/"
    webhook = make_webhook(tenant.organization, name="Shop")
    delivery = make_delivery(Event.objects.get(pk=event_id), webhook, DeliveryStatus.PENDING)
    for page, address in (
        (f"organizations/organization/{tenant.organization.pk}", home),
        (f"delivery/subscription/{webhook.pk}", f"{home}subscriptions/{webhook.pk}/"),
        (f"delivery/delivery/{delivery.pk}", f"{home}subscriptions/{webhook.pk}/deliveries/{delivery.pk}/"),
        (f"ingestion/event/{event_id}", f"{home}events/{event_id}/"),
    ):
        shown = admin.get(f"/admin/{page}/change/").content.decode()
        assert f'href="{address}"' in shown, page
        assert " UTC" in shown, page
    Subscription.objects.filter(pk=webhook.pk).update(status="deleted")
    assert f"{home}subscriptions" not in admin.get(f"/admin/delivery/delivery/{delivery.pk}/change/").content.decode()
    added = admin.get("/admin/organizations/organization/add/").content.decode()
    assert "prepopulate" in added
    assert "as the plan says" in added


def test_the_event_list_of_the_admin_never_counts(
    admin: Client, event_id: str, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(8) as queries:
        admin.get("/admin/ingestion/event/")
    assert not [query["sql"] for query in queries if "COUNT(" in query["sql"]]


def test_the_admin_issues_a_key_and_shows_it_once(admin: Client) -> None:
    organization = make_organization()
    shown = admin.post(
        "/admin/organizations/apikey/add/",
        {"organization": str(organization.pk), "name": "Billing", "scopes": [Scope.EVENTS_WRITE]},
    )
    key = ApiKey.objects.get(organization=organization)
    assert f"_{key.public_id}" in shown.content.decode()
    assert key.scopes == ["events:write"]
    assert "evp_live_" not in admin.get("/admin/organizations/apikey/").content.decode()
    assert AuditEntry.objects.get(action="api_key.issued").actor_label == "casey"


def test_the_admin_rotates_and_revokes_keys(admin: Client, tenant: Tenant) -> None:
    def run(action: str) -> Any:
        return admin.post("/admin/organizations/apikey/", {"action": action, "_selected_action": [str(tenant.key.pk)]})

    names = admin.get("/admin/organizations/apikey/").content.decode()
    rotate, revoke = (next(name for name in (verb, f"{verb}_keys", f"{verb}_selected") if f'value="{name}"' in names)
                      for verb in ("rotate", "revoke"))  # fmt: skip
    assert "evp_live_" in run(rotate).content.decode()
    run(revoke)
    tenant.key.refresh_from_db()
    assert tenant.key.revoked_at is not None


def test_the_admin_creates_and_changes_an_organization_with_an_audit_entry(admin: Client) -> None:
    form = {"name": "Acme", "slug": "acme", "plan": "free", "events_per_minute_override": "",
            "retention_days_override": ""}  # fmt: skip
    admin.post("/admin/organizations/organization/add/", form)
    organization = Organization.objects.get(slug="acme")
    admin.post(f"/admin/organizations/organization/{organization.pk}/change/", {**form, "plan": "pro"})
    actions = AuditEntry.objects.for_organization(organization.pk).order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["organization.created", "organization.updated"]


def test_the_admin_adds_changes_and_removes_a_member(admin: Client) -> None:
    organization, user = make_organization(), UserFactory.create()
    form = {"organization": str(organization.pk), "user": user.pk, "role": "viewer"}
    admin.post("/admin/organizations/membership/add/", form)
    membership = Membership.objects.get()
    admin.post(f"/admin/organizations/membership/{membership.pk}/change/", {**form, "role": "owner"})
    membership.refresh_from_db()
    assert membership.role == "owner"
    admin.post(f"/admin/organizations/membership/{membership.pk}/delete/", {"post": "yes"})
    assert not Membership.objects.exists()
    actions = AuditEntry.objects.for_organization(organization.pk).order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["member.added", "member.role_changed", "member.removed"]
