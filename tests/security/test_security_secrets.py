"""Secrets at rest: encrypted, under keys that can be changed; and nothing in Redis that could be run or read."""

import base64
import json
from io import StringIO
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP
from cryptography.fernet import Fernet
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import connection
from django_redis import get_redis_connection

from core.secrets import UnreadableSecretError, decrypt_secret
from delivery.endpoints.sealed_headers import SEAL, open_headers, seal_headers, show_headers
from delivery.models import Subscription
from events_platform.celery import app
from lifecycle import re_encrypting
from tests.conftest import Tenant
from tests.factories import UserFactory
from tests.support.memory import held_in_redis

TOKEN = "Bearer s3cr3t-t0ken"


def make_webhook(tenant: Tenant, settings: Any) -> Subscription:
    settings.WEBHOOK_ALLOW_HTTP = True
    body = {"kind": "webhook", "url": "http://93.184.215.14/hook", "headers": {"Authorization": TOKEN}}
    answer = tenant.post("/api/v1/subscriptions", body)
    assert answer.status_code == 201, answer.content
    return Subscription.objects.get(pk=answer.json()["id"])


def rows_as_text() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(row)::text FROM delivery_subscription AS row")
        return "\n".join(text for (text,) in cursor)


def rotate(**options: Any) -> str:
    said = StringIO()
    call_command("rotate_encryption_keys", stdout=said, **options)
    return said.getvalue()


# --- Headers of subscriptions ----------------------------------------------------------------------------------


def test_header_values_are_encrypted_at_rest(tenant: Tenant, settings: Any) -> None:
    webhook = make_webhook(tenant, settings)
    assert "s3cr3t" not in rows_as_text()
    assert open_headers(webhook.headers) == {"Authorization": TOKEN}
    assert tenant.get(f"/api/v1/subscriptions/{webhook.pk}").json()["headers"] == {"Authorization": "****0ken"}


def test_a_masked_value_that_is_sent_back_keeps_the_stored_one(tenant: Tenant, settings: Any) -> None:
    webhook = make_webhook(tenant, settings)
    path = f"/api/v1/subscriptions/{webhook.pk}"
    tenant.request("PATCH", path, {"headers": {"Authorization": "****0ken", "X-Team": "blue"}})
    webhook.refresh_from_db()
    assert open_headers(webhook.headers) == {"Authorization": TOKEN, "X-Team": "blue"}
    sealed = webhook.headers
    tenant.request("PATCH", path, {"headers": {"Authorization": "****0ken", "X-Team": "blue"}})
    webhook.refresh_from_db()
    assert webhook.headers == sealed  # the same in clear is no change


def test_values_from_before_they_were_encrypted_are_read() -> None:
    sealed = seal_headers({"New": TOKEN})
    assert open_headers({"Old": TOKEN, **sealed}) == {"Old": TOKEN, "New": TOKEN}


def test_a_page_opens_when_no_key_fits_any_more(settings: Any) -> None:
    sealed = seal_headers({"Authorization": TOKEN})
    settings.FIELD_ENCRYPTION_KEYS, settings.SECRET_KEY = [], "another" * 8
    assert show_headers(sealed) == {"Authorization": "****"}
    with pytest.raises(UnreadableSecretError):
        open_headers(sealed)


# --- Changing the keys -----------------------------------------------------------------------------------------


def test_after_a_rotation_the_old_key_can_go(
    tenant: Tenant, settings: Any, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    monkeypatch.setattr(re_encrypting, "BATCH", 1)
    settings.FIELD_ENCRYPTION_KEYS = [old]
    webhooks = [make_webhook(tenant, settings) for _ in range(3)]
    Subscription.objects.filter(pk=webhooks[0].pk).update(headers={"Authorization": TOKEN})  # from before
    secret = decrypt_secret(webhooks[0].secret)
    TOTP.activate(UserFactory.create(), "JBSWY3DPEHPK3PXP")

    settings.FIELD_ENCRYPTION_KEYS = [new, old]
    with pytest.raises(CommandError, match="before an old key is dropped"):
        rotate(check=True)
    assert "renewed: 6\nencrypted for the first time: 1\n" in rotate()
    assert "with the first key: 7\nrenewed: 0\n" in rotate()
    assert "with an old key: 0\nnot encrypted: 0\n" in rotate(check=True)

    settings.FIELD_ENCRYPTION_KEYS, settings.SECRET_KEY = [new], "another" * 8
    for webhook in webhooks:
        webhook.refresh_from_db()
        assert open_headers(webhook.headers) == {"Authorization": TOKEN}
    assert decrypt_secret(webhooks[0].secret) == secret
    assert decrypt_secret(Authenticator.objects.get().data["secret"]) == "JBSWY3DPEHPK3PXP"


def test_what_no_key_reads_is_counted_and_left(tenant: Tenant, settings: Any) -> None:
    webhook = make_webhook(tenant, settings)
    settings.SECRET_KEY = "another" * 8
    with pytest.raises(CommandError, match="2 values are readable with no key"):
        rotate()
    assert Subscription.objects.get(pk=webhook.pk).secret == webhook.secret


# --- Redis -----------------------------------------------------------------------------------------------------


def test_whoever_writes_to_redis_runs_no_code() -> None:
    cache.set("ours", {"a": [1, "two"]})
    client = get_redis_connection("default")
    assert json.loads(client.get(cache.make_key("ours"))) == {"a": [1, "two"]}
    # What pickle would take for a call of a function.
    client.set(cache.make_key("planted"), b"cbuiltins\neval\n(S'1+1'\ntR.")
    with pytest.raises(json.JSONDecodeError):
        cache.get("planted")
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == app.conf.result_serializer == "json"


def test_redis_holds_no_key_and_no_payload(tenant: Tenant, settings: Any) -> None:
    webhook = make_webhook(tenant, settings)
    tenant.post("/api/v1/events", {"type": "secret", "data": "payload-of-the-tenant"})
    tenant.get(f"/api/v1/subscriptions/{webhook.pk}/secret")
    held = b"\n".join(held_in_redis())
    for private in (tenant.plaintext, decrypt_secret(webhook.secret), "s3cr3t-t0ken", "payload-of-the-tenant"):
        assert private.encode() not in held
        assert base64.b64encode(private.encode()) not in held


def test_header_values_of_rows_have_a_seal_that_no_clear_value_can_have(tenant: Tenant, settings: Any) -> None:
    assert all(value.startswith(SEAL) for value in make_webhook(tenant, settings).headers.values())
    body = {"kind": "webhook", "url": "http://93.184.215.14/hook", "headers": {"X-Odd": f"{SEAL}x"}}
    assert tenant.post("/api/v1/subscriptions", body).status_code == 422
