"""Genuine webhooks are told from all others."""

import time

import pytest

from events_client import ConfigurationError, WebhookVerificationError, verify_webhook
from events_client.webhooks import generate_secret, secret_key, signature, signed_headers

BODY = b'{"id":"e-1","type":"invoice.paid","timestamp":"2026-11-23T10:00:00.000000Z","data":{"amount":12900}}'
SECRET = generate_secret()


def test_a_genuine_one_gives_the_event() -> None:
    event = verify_webhook(BODY, signed_headers(SECRET, "e-1", BODY), SECRET)
    assert (event["type"], event["data"]) == ("invoice.paid", {"amount": 12900})


def test_names_of_headers_have_any_case_and_either_secret_will_do() -> None:
    headers = {name.title(): value for name, value in signed_headers(SECRET, "e-1", BODY).items()}
    headers["Webhook-Signature"] = "v1,AAAA v1a,BBBB " + headers["Webhook-Signature"]
    assert verify_webhook(BODY.decode(), headers, [generate_secret(), SECRET])["id"] == "e-1"


@pytest.mark.parametrize("change", ["body", "secret", "id", "signature", "missing", "timestamp", "surrogate"])
def test_all_others_are_refused(change: str) -> None:
    headers = signed_headers(SECRET, "e-1", BODY)
    body, secret = BODY, SECRET
    match change:
        case "body":
            body += b" "
        case "secret":
            secret = generate_secret()
        case "missing":
            del headers["webhook-timestamp"]
        case "timestamp":
            headers["webhook-timestamp"] = "1e9"
        case "surrogate":
            headers["webhook-signature"] = "v1,\udce9"
        case name:
            headers[f"webhook-{name}"] = "x"
    with pytest.raises(WebhookVerificationError):
        verify_webhook(body, headers, secret)


@pytest.mark.parametrize("seconds", [-301, 301])
def test_an_old_one_is_refused(seconds: int) -> None:
    stamp = str(int(time.time()) + seconds)
    signed = signature(secret_key(SECRET), "e-1", stamp, BODY)
    headers = {"webhook-id": "e-1", "webhook-timestamp": stamp, "webhook-signature": signed}
    with pytest.raises(WebhookVerificationError, match="clock"):
        verify_webhook(BODY, headers, SECRET)
    assert verify_webhook(BODY, headers, SECRET, tolerance_seconds=400)["id"] == "e-1"


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_*", "c2VjcmV0"])
def test_no_secret_is_no_secret(secret: str) -> None:
    with pytest.raises(ConfigurationError):
        verify_webhook(BODY, signed_headers(SECRET, "e-1", BODY), secret)
