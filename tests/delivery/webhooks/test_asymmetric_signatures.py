"""Webhooks that are signed with a key pair (`v1a`), verified as a receiver does: with the public key alone."""

import base64
import json
from ipaddress import ip_network
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook

from core.secrets import decrypt_secret
from delivery.models import Subscription
from delivery.operations import subscription_fields
from delivery.webhooks import guard
from delivery.webhooks.signing import generate_secret, public_key, secret_key, sign
from tests.conftest import Tenant
from tests.support.events.delivering import accept, send_due
from tests.support.http.receiver import Received, Receiver, receiving

PATH = "/api/v1/subscriptions"


@pytest.fixture(autouse=True)
def _loopback_is_allowed(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WEBHOOK_ALLOW_HTTP = True
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.1/32")]
    monkeypatch.setattr(subscription_fields, "check_destination", guard.check_url)


def verifies(key: str, request: Received) -> bool:
    """Whether one of the signatures is of the private key that belongs to `whpk_…`."""
    verifier = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.removeprefix("whpk_")))
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    for each in request.headers["webhook-signature"].split(" "):
        version, _, signature = each.partition(",")
        if version == "v1a":
            try:
                verifier.verify(base64.b64decode(signature), signed)
            except InvalidSignature:
                continue
            return True
    return False


def versions(request: Received) -> list[str]:
    return [each.partition(",")[0] for each in request.headers["webhook-signature"].split(" ")]


def next_request(tenant: Tenant, receiver: Receiver) -> Received:
    accept(tenant.organization)
    send_due()
    return receiver.received[-1]


def create(tenant: Tenant, url: str, **options: Any) -> Any:
    answer = tenant.post(PATH, {"kind": "webhook", "url": url, **options})
    assert answer.status_code == 201, answer.json()
    return answer.json()


@pytest.mark.django_db(transaction=True)
def test_a_receiver_verifies_with_the_public_key_through_a_rotation(tenant: Tenant) -> None:
    with receiving(generate_secret()) as receiver:
        created = create(tenant, f"{receiver.url}/ok", signature="v1a")
        path = f"{PATH}/{created['id']}"
        assert "secret" not in created
        first = next_request(tenant, receiver)
        assert versions(first) == ["v1a"]
        assert verifies(created["public_key"], first)
        assert not verifies(public_key(generate_secret("v1a")), first)

        rotated = tenant.post(f"{path}/rotate-secret").json()
        assert rotated["secret"] is None
        assert rotated["public_key"] != created["public_key"]
        assert tenant.get(path).json()["public_key"] == rotated["public_key"]
        both = next_request(tenant, receiver)
        assert versions(both) == ["v1a", "v1a"]
        assert verifies(created["public_key"], both)
        assert verifies(rotated["public_key"], both)

        Subscription.objects.update(previous_secret_until=None)
        last = next_request(tenant, receiver)
        assert verifies(rotated["public_key"], last)
        assert not verifies(created["public_key"], last)


@pytest.mark.django_db(transaction=True)
def test_the_secret_before_signs_too_while_a_receiver_changes_over(tenant: Tenant) -> None:
    """From `v1` to `v1a` and back: whoever still verifies with what there was is not cut off."""
    with receiving(generate_secret()) as receiver:
        created = create(tenant, f"{receiver.url}/ok")
        path = f"{PATH}/{created['id']}"
        changed = tenant.request("PATCH", path, {"signature": "v1a"}).json()
        both = next_request(tenant, receiver)
        assert versions(both) == ["v1a", "v1"]
        assert verifies(changed["public_key"], both)
        Webhook(created["secret"]).verify(both.body, both.headers)

        assert tenant.request("PATCH", path, {"signature": None}).json()["public_key"] is None
        back = next_request(tenant, receiver)
        assert versions(back) == ["v1", "v1a"]
        assert verifies(changed["public_key"], back)
        Webhook(tenant.get(f"{path}/secret").json()["secret"]).verify(back.body, back.headers)

        secret = Subscription.objects.get(pk=created["id"]).secret
        assert tenant.request("PATCH", path, {"signature": "v1"}).status_code == 200
        assert Subscription.objects.get(pk=created["id"]).secret == secret


def test_nobody_is_shown_the_private_key(tenant: Tenant) -> None:
    created = create(tenant, "https://example.com/", signature="v1a")
    row = Subscription.objects.get(pk=created["id"])
    private = decrypt_secret(row.secret)
    assert private.startswith("whsk_")
    assert public_key(private) == created["public_key"]
    path = f"{PATH}/{created['id']}"
    answers = [tenant.get(path), tenant.get(f"{path}/secret"), tenant.post(f"{path}/rotate-secret")]
    shown = json.dumps([answer.json() for answer in [*answers, tenant.get(PATH)]])
    assert "whsk_" not in shown
    assert private.removeprefix("whsk_")[:40] not in shown


def test_a_key_pair_is_what_the_specification_calls_one() -> None:
    """`whsk_` and 64 bytes: the seed (RFC 8032) and the public key, so that other tools can read it."""
    secret = generate_secret("v1a")
    pair = base64.b64decode(secret.removeprefix("whsk_"))
    assert (len(pair), public_key(secret)) == (64, "whpk_" + base64.b64encode(pair[32:]).decode())
    assert sign([secret_key(secret)], "0190", 1, b"{}") == sign([secret_key(secret)], "0190", 1, b"{}")
    assert public_key(generate_secret()) == ""
    for wrong in ("whsk_", "whsk_" + "A" * 44, "whsk_!"):
        with pytest.raises(ValueError, match="webhook"):
            secret_key(wrong)
