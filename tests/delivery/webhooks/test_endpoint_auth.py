"""Endpoints that ask for a token or for a certificate: against servers that demand them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from django.utils import timezone

from core.secrets import decrypt_secret
from delivery.endpoints.sealed_auth import open_auth
from delivery.models import Attempt, Delivery, DeliveryStatus, Subscription
from delivery.operations import subscription_fields
from delivery.webhooks import guard
from ingestion.models import Event
from lifecycle.re_encrypting import re_encrypt_all
from notifications.notices import announce_certificate_ends
from organizations.models import AuditEntry, Role
from tests.conftest import Tenant
from tests.support.events.delivering import SECRET, accept, send_due
from tests.support.http import receiver as receivers
from tests.support.http.certificates import Client, demanding_client_certificates
from tests.support.http.receiver import Receiver, receiving
from tests.support.http.token_server import CLIENT_ID, CLIENT_SECRET, TokenServer, granting_tokens
from tests.support.people.console_site import Site, as_role

PATH = "/api/v1/subscriptions"
URL = "https://example.com/hook"
OAUTH2: dict[str, Any] = {
    "type": "oauth2_client_credentials",
    "token_url": "https://auth.example.com/token",
    "client_id": CLIENT_ID,
    "client_secret": CLIENT_SECRET,
}


@pytest.fixture(autouse=True)
def _loopback_is_allowed(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WEBHOOK_ALLOW_HTTP = True
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]
    settings.WEBHOOK_RETRY_SCHEDULE = [5, 300]
    monkeypatch.setattr(subscription_fields, "check_destination", guard.check_url)


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    with granting_tokens() as server:
        yield server


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(SECRET) as running:
        yield running


def create(tenant: Tenant, url: str, auth: dict[str, Any], **options: Any) -> Any:
    answer = tenant.post(PATH, {"kind": "webhook", "url": url, "auth": auth, **options})
    assert answer.status_code == 201, answer.json()
    return answer.json()


def patch(tenant: Tenant, subscription: dict[str, Any], **body: Any) -> Any:
    return tenant.request("PATCH", f"{PATH}/{subscription['id']}", body)


def codes(answer: Any) -> list[tuple[str, str]]:
    return [(error["pointer"], error["code"]) for error in answer.json()["errors"]]


def oauth2(tokens: TokenServer, **members: Any) -> dict[str, Any]:
    return {**OAUTH2, "token_url": tokens.url, **members}


@pytest.mark.django_db(transaction=True)
def test_a_token_is_fetched_once_and_sent_with_each_webhook(
    tenant: Tenant, receiver: Receiver, tokens: TokenServer
) -> None:
    create(tenant, f"{receiver.url}/ok", oauth2(tokens, scope="webhooks more"), headers={"authorization": "Basic old"})
    accept(tenant.organization, 5)
    assert send_due() == 5
    assert (len(tokens.tokens), tokens.scopes) == (1, ["webhooks more"])
    assert {request.headers["authorization"] for request in receiver.received} == {f"Bearer {tokens.tokens[0]}"}


@pytest.mark.django_db(transaction=True)
def test_a_token_that_is_refused_is_renewed_within_the_attempt(
    tenant: Tenant, receiver: Receiver, tokens: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the first one had been withdrawn."""

    async def only_the_second(_: Receiver, request: web.BaseRequest, __: str) -> web.StreamResponse:
        is_good = len(tokens.tokens) > 1 and request.headers["Authorization"] == f"Bearer {tokens.tokens[1]}"
        return web.Response(status=200 if is_good else 401)

    monkeypatch.setitem(receivers._BEHAVIOURS, "guarded", only_the_second)
    create(tenant, f"{receiver.url}/guarded", oauth2(tokens))
    accept(tenant.organization)
    assert send_due() == 1
    assert (receiver.total, len(tokens.tokens)) == (2, 2)
    delivery = Delivery.objects.exclude(subscription__kind="inbox").get()
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.DELIVERED, 1)


@pytest.mark.django_db(transaction=True)
def test_an_endpoint_that_refuses_every_token_is_asked_twice(
    tenant: Tenant, receiver: Receiver, tokens: TokenServer
) -> None:
    create(tenant, f"{receiver.url}/status/401", oauth2(tokens))
    accept(tenant.organization)
    assert send_due() == 1
    assert (receiver.total, len(tokens.tokens)) == (2, 2)
    assert Delivery.objects.exclude(subscription__kind="inbox").get().last_error == "http_error"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "answer",
    [
        (401, b'{"error": "invalid_client"}'),
        (302, b""),
        (200, b"no JSON"),
        (200, b"[" * 100_000),
        (200, b'{"access_token": "a\\nb", "token_type": "Bearer"}'),
        (200, b'{"access_token": "a", "token_type": "mac"}'),
        (200, b'{"access_token": "a", "token_type": "Bearer", "expires_in": "soon"}'),
    ],
)
def test_without_a_token_nothing_is_sent(
    tenant: Tenant, receiver: Receiver, tokens: TokenServer, answer: tuple[int, bytes]
) -> None:
    tokens.answer = answer
    created = create(tenant, f"{receiver.url}/ok", oauth2(tokens))
    accept(tenant.organization)
    assert send_due() == 1
    assert receiver.total == 0
    assert Attempt.objects.get().error == "token"
    tested = tenant.post(f"{PATH}/{created['id']}/test").json()
    assert (tested["delivered"], tested["error"]) == (False, "token")
    assert "token endpoint" in tested["detail"]
    assert CLIENT_SECRET not in json.dumps(tested)


@pytest.mark.django_db(transaction=True)
def test_a_token_is_fetched_through_the_guard(
    tenant: Tenant, receiver: Receiver, tokens: TokenServer, settings: Any
) -> None:
    """A name may lead elsewhere after it was saved, and a network may be denied."""
    create(tenant, f"{receiver.url}/ok", oauth2(tokens))
    settings.WEBHOOK_DENIED_NETWORKS = [ip_network("127.0.0.1/32")]
    accept(tenant.organization)
    assert send_due() == 1
    assert (tokens.tokens, receiver.total) == ([], 0)


@pytest.mark.parametrize("token_url", ["http://169.254.169.254/token", "ftp://example.com/", "https://10.0.0.1/token"])
def test_a_token_url_is_vetted_when_it_is_saved(tenant: Tenant, token_url: str) -> None:
    answer = tenant.post(PATH, {"kind": "webhook", "url": URL, "auth": {**OAUTH2, "token_url": token_url}})
    assert (answer.status_code, codes(answer)) == (422, [("/auth/token_url", "unsafe_url")])


def test_secrets_of_auth_are_shown_nowhere_and_encrypted(tenant: Tenant) -> None:
    created = create(tenant, URL, OAUTH2)
    assert created["auth"] == {**{name: OAUTH2[name] for name in ("type", "token_url", "client_id")}, "scope": None}
    stored = Subscription.objects.get(pk=created["id"]).auth
    assert stored is not None
    assert CLIENT_SECRET not in json.dumps(stored)
    assert decrypt_secret(stored["client_secret"][1:]) == CLIENT_SECRET
    patch(tenant, created, auth={**OAUTH2, "client_secret": "another"})
    assert "another" not in json.dumps(list(AuditEntry.objects.values_list("changes", flat=True)))
    tenant.request("DELETE", f"{PATH}/{created['id']}", None)
    assert Subscription.objects.get(pk=created["id"]).auth is None


def test_another_key_encrypts_the_secrets_of_auth_too(tenant: Tenant, settings: Any) -> None:
    created = create(tenant, URL, OAUTH2)
    settings.FIELD_ENCRYPTION_KEYS = ["A" * 43 + "="]
    assert re_encrypt_all(told=lambda _: None).unreadable == 0
    settings.SECRET_KEY = "another-secret-key-" * 4
    stored = Subscription.objects.get(pk=created["id"]).auth
    assert stored is not None
    assert decrypt_secret(stored["client_secret"][1:]) == CLIENT_SECRET


def test_a_secret_is_kept_for_the_endpoint_that_it_was_given_for(tenant: Tenant) -> None:
    created = create(tenant, URL, OAUTH2)
    without = {name: value for name, value in OAUTH2.items() if name != "client_secret"}
    assert patch(tenant, created, auth={**without, "scope": "more"}).json()["auth"]["scope"] == "more"
    assert patch(tenant, created, url="https://example.com/other").status_code == 200

    asked = [("/auth/client_secret", "headers_required")]
    for body in (
        {"url": "https://elsewhere.example/"},
        {"url": "https://elsewhere.example/", "auth": without},
        {"auth": {**without, "token_url": "https://elsewhere.example/token"}},
        {"auth": {**without, "token_url": "https://auth.example.com:8443/token"}},
    ):
        answer = patch(tenant, created, **body)
        assert (answer.status_code, answer.json()["code"], codes(answer)) == (422, "headers_required", asked)
    assert patch(tenant, created, url="https://elsewhere.example/", auth=OAUTH2).status_code == 200
    assert patch(tenant, created, url="https://example.com/", auth=None).json()["auth"] is None
    assert codes(patch(tenant, created, auth=without)) == [("/auth/client_secret", "required")]


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return demanding_client_certificates(tmp_path, "127.0.0.1")[2]


def test_what_is_no_certificate_is_refused(tenant: Tenant, client: Client, tmp_path: Path) -> None:
    other = demanding_client_certificates(tmp_path, "127.0.0.1")[2]
    expired = demanding_client_certificates(tmp_path, "127.0.0.1", days=-1)[2]
    for certificate, key, wrong in (
        ("no PEM", client.private_key, ("/auth/certificate", "invalid")),
        (client.certificate, "no PEM", ("/auth/private_key", "invalid")),
        (client.certificate, other.private_key, ("/auth/private_key", "invalid")),
        (expired.certificate, expired.private_key, ("/auth/certificate", "expired")),
        (client.certificate, None, ("/auth/private_key", "required")),
    ):
        auth = {"type": "mtls", "certificate": certificate, "private_key": key}
        given = {name: value for name, value in auth.items() if value is not None}
        answer = tenant.post(PATH, {"kind": "webhook", "url": URL, "auth": given})
        assert (answer.status_code, codes(answer)) == (422, [wrong])


@pytest.mark.django_db(transaction=True)
def test_a_certificate_opens_an_endpoint_that_demands_one(tenant: Tenant, settings: Any, tmp_path: Path) -> None:
    context, ca_file, client = demanding_client_certificates(tmp_path, "127.0.0.1")
    settings.WEBHOOK_CA_FILE = str(ca_file)
    auth = {"type": "mtls", "certificate": client.certificate, "private_key": client.private_key}
    with receiving(SECRET, context=context) as receiver:
        created = create(tenant, f"{receiver.url}/ok", auth)
        create(tenant, f"{receiver.url}/without", OAUTH2 | {"token_url": f"{receiver.url}/token"})
        assert created["auth"].keys() == {"type", "expires_at"}
        accept(tenant.organization, 3)
        send_due()
        assert {request.path for request in receiver.received} == {"/ok"}
    of_it = Delivery.objects.filter(subscription=created["id"])
    assert set(of_it.values_list("status", flat=True)) == {DeliveryStatus.DELIVERED}
    stored = json.dumps(Subscription.objects.get(pk=created["id"]).auth)
    assert "BEGIN" not in stored


@pytest.mark.django_db(transaction=True)
def test_owners_are_told_once_of_a_certificate_that_ends_soon(tenant: Tenant, tmp_path: Path) -> None:
    client = demanding_client_certificates(tmp_path, "127.0.0.1", days=30)[2]
    auth = {"type": "mtls", "certificate": client.certificate, "private_key": client.private_key}
    created = create(tenant, URL, auth, name="Ledger")
    ends = datetime.fromisoformat(created["auth"]["expires_at"])
    assert timedelta(days=29) < ends - datetime.now(UTC) < timedelta(days=31)
    now = timezone.now()
    assert announce_certificate_ends(now=now + timedelta(days=15)) == 0
    assert announce_certificate_ends(now=now + timedelta(days=17)) == 1
    assert announce_certificate_ends(now=now + timedelta(days=18)) == 0
    event = Event.objects.get(type="subscription.certificate_ends")
    data = json.loads(event.data)
    assert (data["subscription"], data["expires_at"]) == ("Ledger", created["auth"]["expires_at"])

    renewed = demanding_client_certificates(tmp_path, "127.0.0.1", days=40)[2]
    patch(tenant, created, auth={**auth, "certificate": renewed.certificate, "private_key": renewed.private_key})
    assert announce_certificate_ends(now=now + timedelta(days=18)) == 0
    assert announce_certificate_ends(now=now + timedelta(days=27)) == 1


# --- The form of the console -----------------------------------------------------------------------------------------

FORM = {"url": URL, "name": "Ledger", "event_types": "*"}
OAUTH2_FORM = {"auth_type": OAUTH2["type"], **{f"auth_{name}": OAUTH2[name] for name in OAUTH2 if name != "type"}}


def wrong_fields(answer: Any) -> set[str]:
    assert answer.status_code == 422, answer.status_code
    return set(answer.context["form"].errors)


@pytest.fixture
def site(tenant: Tenant) -> Site:
    return as_role(tenant.organization, Role.ADMIN)


@pytest.mark.django_db
def test_the_form_has_a_field_for_each_member_and_shows_no_secret(site: Site) -> None:
    site.follow("subscriptions/new", **FORM, **OAUTH2_FORM, auth_scope="webhooks more")
    found = Subscription.objects.get(name="Ledger")
    assert found.auth is not None
    assert open_auth(found.auth)["client_secret"] == CLIENT_SECRET
    assert (found.auth["client_id"], found.auth["scope"]) == (CLIENT_ID, "webhooks more")
    path = f"subscriptions/{found.pk}/edit"
    page = site.page(path)
    assert CLIENT_ID in page
    assert CLIENT_SECRET not in page
    # Left empty, the secret is kept, and goes nowhere else.
    kept = OAUTH2_FORM | {"auth_client_secret": "", "auth_client_id": "another"}
    site.follow(path, **FORM, **kept)
    changed = Subscription.objects.get(pk=found.pk).auth
    assert changed is not None
    assert (changed["client_id"], open_auth(changed)["client_secret"]) == ("another", CLIENT_SECRET)
    for elsewhere in ({"url": "https://evil.example.com/"}, {"auth_token_url": "https://evil.example.com/"}):
        assert wrong_fields(site.post(path, **FORM | kept | elsewhere)) == {"auth_client_secret"}
    site.follow(path, **FORM | OAUTH2_FORM | {"auth_token_url": "https://other.example.com/"})
    # A page that has no such fields changes nothing of it.
    site.follow(path, **FORM)
    assert Subscription.objects.get(pk=found.pk).auth is not None
    site.follow(path, **FORM, auth_type="")
    assert Subscription.objects.get(pk=found.pk).auth is None


@pytest.mark.django_db
def test_every_error_of_the_form_is_at_its_field(site: Site, tmp_path: Path) -> None:
    client, other = (demanding_client_certificates(tmp_path, "127.0.0.1")[2] for _ in range(2))
    mtls = {"auth_type": "mtls", "auth_certificate": client.certificate, "auth_private_key": client.private_key}
    for values, wrong in (
        ({"auth_type": "mtls"}, {"auth_certificate", "auth_private_key"}),
        ({"auth_type": OAUTH2["type"]}, {"auth_token_url", "auth_client_id", "auth_client_secret"}),
        (OAUTH2_FORM | {"auth_token_url": "ftp://x", "auth_client_id": "ä", "auth_scope": "a  b", "url": "ftp://x"},
         {"url", "auth_token_url", "auth_client_id", "auth_scope"}),
        (mtls | {"auth_certificate": "x", "auth_private_key": "y"}, {"auth_certificate", "auth_private_key"}),
        (mtls | {"auth_private_key": other.private_key, "url": "ftp://x"}, {"url", "auth_private_key"}),
        ({"auth_type": "magic"}, {"auth_type"}),
    ):  # fmt: skip
        assert wrong_fields(site.post("subscriptions/new", **FORM | values)) == wrong, values
    site.follow("subscriptions/new", **FORM | mtls)
    found = Subscription.objects.get(name="Ledger")
    assert found.auth_expires_at is not None
    page = site.page(f"subscriptions/{found.pk}/edit")
    assert "BEGIN CERTIFICATE-----" in page  # the hint
    assert client.certificate.splitlines()[1] not in page
    assert client.private_key.splitlines()[1] not in page
    site.follow(f"subscriptions/{found.pk}/edit", **FORM | {"auth_type": "mtls", "name": "Renamed"})
    renamed = Subscription.objects.get(pk=found.pk)
    assert (renamed.name, renamed.auth) == ("Renamed", found.auth)


@pytest.mark.django_db
def test_what_somebody_else_did_to_the_authorization_is_not_undone_unseen(tenant: Tenant, site: Site) -> None:
    created = create(tenant, URL, OAUTH2, name="Ledger")
    path = f"subscriptions/{created['id']}/edit"
    version = site.get(path).context["version"]
    patch(tenant, created, auth={**OAUTH2, "client_id": "theirs"})
    mine = FORM | OAUTH2_FORM | {"auth_client_secret": "", "name": "Mine", "version": version}
    answer = site.post(path, **mine)
    assert answer.status_code == 412
    form = answer.context["form"]
    # What this person did not touch is as it is now.
    assert (form["auth_client_id"].value(), form["name"].value()) == ("theirs", "Mine")
    assert "Authorization" in answer.content.decode()
