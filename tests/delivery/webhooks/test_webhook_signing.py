"""Signatures that the public library accepts, secrets at rest, the retry schedule, and headers of subscriptions."""

import base64
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import time_machine
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from core.problems import Problem
from core.secrets import UnreadableSecretError, decrypt_secret, encrypt_secret, re_encrypt
from delivery.endpoints.header_rules import MAX_HEADER_BYTES, MAX_HEADERS, check_headers
from delivery.webhooks.retry_schedule import MAX_RETRY_AFTER, next_attempt, parse_retry_after
from delivery.webhooks.signing import generate_secret, secret_key, sign

ROOT = Path(__file__).resolve().parents[3]
FIXED = examples(max_examples=200, derandomize=True, deadline=None, database=None)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCHEDULE = [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]

json_bodies = st.text().map(str.encode)


def headers_for(message_id: str, timestamp: int, signature: str) -> dict[str, str]:
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": signature}


# --- Signatures ----------------------------------------------------------------------------------------------


@time_machine.travel(NOW, tick=False)
def test_it_works() -> None:
    secret, timestamp = generate_secret(), int(NOW.timestamp())
    signature = sign([secret_key(secret)], "0190", timestamp, b'{"a": 1}')
    assert Webhook(secret).verify(b'{"a": 1}', headers_for("0190", timestamp, signature)) == {"a": 1}


def test_signature_is_that_of_the_specification() -> None:
    """The example that the implementations of Standard Webhooks share."""
    key = secret_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@FIXED
@given(key=st.binary(min_size=24, max_size=64), body=json_bodies)
def test_signature_is_verified_for_any_key_and_body(key: bytes, body: bytes) -> None:
    timestamp = int(datetime.now(UTC).timestamp())
    headers = headers_for("0190", timestamp, sign([key], "0190", timestamp, body))
    Webhook(key).verify(body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(key).verify(body + b"x", headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(key).verify(body, {**headers, "webhook-id": "0191"}, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(key).verify(body, {**headers, "webhook-timestamp": str(timestamp - 1)}, json_parse=False)


@FIXED
@given(st.lists(st.binary(min_size=24, max_size=64), min_size=1, max_size=4))
def test_each_of_several_secrets_verifies(keys: list[bytes]) -> None:
    timestamp = int(datetime.now(UTC).timestamp())
    signature = sign(keys, "0190", timestamp, b"{}")
    assert len(signature.split(" ")) == len(keys)
    for key in keys:
        Webhook(key).verify(b"{}", headers_for("0190", timestamp, signature))


def test_generated_secrets_differ_and_have_32_bytes() -> None:
    secrets = {generate_secret() for _ in range(100)}
    assert len(secrets) == 100
    keys = [secret_key(secret) for secret in secrets]
    assert {len(key) for key in keys if isinstance(key, bytes)} == {32}


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!!", "whsec_abc", "whsec_" + "QUJD" * 4, "whsec_é"],
)
def test_text_that_is_no_secret_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a webhook secret"):
        secret_key(text)


# --- Secrets at rest -----------------------------------------------------------------------------------------


def new_key() -> str:
    return Fernet.generate_key().decode()


@FIXED
@given(st.text())
def test_secret_comes_back(text: str) -> None:
    token = encrypt_secret(text)
    assert decrypt_secret(token) == text
    assert encrypt_secret(text) != token
    assert len(text) < 8 or text not in token


def test_new_first_key_encrypts_and_old_ones_still_decrypt(settings: Any) -> None:
    old, new = new_key(), new_key()
    settings.FIELD_ENCRYPTION_KEYS = [old]
    token = encrypt_secret("whsec_1")

    settings.FIELD_ENCRYPTION_KEYS = [new, old]
    moved = re_encrypt(token)
    assert (decrypt_secret(token), decrypt_secret(moved)) == ("whsec_1", "whsec_1")

    settings.FIELD_ENCRYPTION_KEYS = [new]
    assert decrypt_secret(moved) == "whsec_1"
    with pytest.raises(UnreadableSecretError):
        decrypt_secret(token)
    with pytest.raises(UnreadableSecretError):
        re_encrypt(token)


def test_key_is_derived_from_the_secret_key_when_none_is_set(settings: Any) -> None:
    settings.FIELD_ENCRYPTION_KEYS = []
    token = encrypt_secret("whsec_1")
    settings.FIELD_ENCRYPTION_KEYS = [new_key()]
    assert decrypt_secret(token) == "whsec_1"
    settings.SECRET_KEY = "another" * 8
    with pytest.raises(UnreadableSecretError):
        decrypt_secret(token)


def test_altered_token_is_unreadable() -> None:
    token = encrypt_secret("whsec_1")
    for altered in (token[:-5] + "AAAA=", token[1:], "", "é"):
        with pytest.raises(UnreadableSecretError):
            decrypt_secret(altered)


# --- Retries -------------------------------------------------------------------------------------------------


def test_schedule_gives_each_wait_once_and_then_nothing() -> None:
    moments = [next_attempt(attempts=n, now=NOW, schedule=SCHEDULE, jitter=0.0) for n in range(1, 11)]
    assert moments == [*[NOW + timedelta(seconds=seconds) for seconds in SCHEDULE], None]


@FIXED
@given(
    attempts=st.integers(1, 9),
    jitter=st.floats(0, 1, exclude_max=True),
    asked=st.none() | st.timedeltas(timedelta(0), timedelta(days=3)),
)
def test_next_attempt_keeps_its_bounds(attempts: int, jitter: float, asked: timedelta | None) -> None:
    moment = next_attempt(attempts=attempts, now=NOW, schedule=SCHEDULE, jitter=jitter, retry_after=asked)
    lowest = max(timedelta(seconds=SCHEDULE[attempts - 1]), min(asked or timedelta(0), MAX_RETRY_AFTER))
    assert moment is not None
    assert NOW + lowest <= moment <= NOW + lowest * 1.2


def test_retry_after_does_not_prolong_the_schedule() -> None:
    assert next_attempt(attempts=10, now=NOW, schedule=SCHEDULE, jitter=0, retry_after=timedelta(minutes=1)) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", timedelta(seconds=120)),
        (" 0 ", timedelta(0)),
        ("86401", timedelta(hours=24)),
        ("9" * 400, timedelta(hours=24)),
        (format_datetime(NOW + timedelta(hours=1), usegmt=True), timedelta(hours=1)),
        ("Sunday, 01-Mar-26 13:00:00 GMT", timedelta(hours=1)),
        ("Sun Mar  1 13:00:00 2026", timedelta(hours=1)),
        (format_datetime((NOW + timedelta(hours=1)).astimezone(timezone(timedelta(hours=5)))), timedelta(hours=1)),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), timedelta(0)),
        (format_datetime(NOW + timedelta(days=9), usegmt=True), timedelta(hours=24)),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("Mon, 99 Foo 2026 99:99:99 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, expected: timedelta | None) -> None:
    assert parse_retry_after(value, NOW) == expected


@FIXED
@given(
    st.text()
    | st.from_regex(r"[A-Z][a-z]{2}, \d{1,4} [A-Z][a-z]{2} \d{1,6} \d\d:\d\d:\d\d [A-Z+-]{1,4}\d*", fullmatch=True)
)
def test_any_retry_after_is_bounded_or_ignored(value: str) -> None:
    wait = parse_retry_after(value, NOW)
    assert wait is None or timedelta(0) <= wait <= MAX_RETRY_AFTER


# --- Headers -------------------------------------------------------------------------------------------------


def problems_of(headers: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(Problem) as raised:
        check_headers(headers)
    assert raised.value.status_code == 422
    return [(error.pointer, error.code) for error in raised.value.errors]


def test_headers_of_a_subscription_are_kept() -> None:
    headers = {"Authorization": "Bearer a.b-c", "X-Team": "billing and more", "x-empty": "", "!#$%&'*+-.^_`|~0": "x"}
    assert check_headers(headers) == headers
    assert check_headers({}) == {}


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "CONTENT-LENGTH",
        "Transfer-Encoding",
        "connection",
        "Content-Type",
        "Content-Encoding",
        "User-Agent",
        "Cookie",
        "TE",
        "Trailer",
        "Upgrade",
        "Expect",
        "Forwarded",
        "X-Forwarded-For",
        "Webhook-Id",
        "webhook-signature",
        "Proxy-Authorization",
        "Keep-Alive",
    ],
)
def test_headers_of_the_platform_are_reserved(name: str) -> None:
    assert problems_of({name: "x"}) == [(f"/headers/{name}", "reserved")]


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\n", "a\x00", "naïve", "a/b", "(a)"])
def test_header_name_is_a_token(name: str) -> None:
    assert problems_of({name: "x"}) == [(f"/headers/{name}".replace("a/b", "a~1b"), "invalid_name")]


@pytest.mark.parametrize(
    "value", ["a\r\nX-Injected: 1", "a\n", "a\r", "a\x00b", " a", "a ", "\ta", "é", "\x7f", 1, None, ["a"]]
)
def test_header_value_is_visible_ascii(value: Any) -> None:
    assert problems_of({"X-A": value}) == [("/headers/X-A", "invalid_value")]


def test_every_wrong_header_is_named() -> None:
    wrong = problems_of({"X-A": "1", "x-a": "2", "Host": "h", "b c": "3", "X-D": "\n"})
    expected = [("x-a", "duplicate"), ("Host", "reserved"), ("b c", "invalid_name"), ("X-D", "invalid_value")]
    assert wrong == [(f"/headers/{name}", code) for name, code in expected]


def test_headers_are_bounded() -> None:
    most = {f"X-{number}": "v" for number in range(MAX_HEADERS)}
    check_headers(most)
    assert problems_of({**most, "X-More": "v"}) == [("/headers", "too_many")]
    check_headers({"X-Long": "v" * (MAX_HEADER_BYTES - 6)})
    assert problems_of({"X-Long": "v" * (MAX_HEADER_BYTES - 5)}) == [("/headers", "too_long")]


@FIXED
@given(st.dictionaries(st.text(), st.text(), max_size=5))
def test_accepted_headers_cannot_break_the_request(headers: dict[str, str]) -> None:
    try:
        accepted = check_headers(headers)
    except Problem:
        return
    text = "".join(f"{name}: {value}\r\n" for name, value in accepted.items())
    assert text.isascii()
    assert text.count("\r") == text.count("\n") == len(accepted)


# --- Settings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEBHOOK_ALLOWED_NETWORKS", "10.0.0.1/8"),
        ("WEBHOOK_DENIED_NETWORKS", "10.0.0.0/8,everything"),
        ("WEBHOOK_ALLOW_HTTP", "perhaps"),
        ("WEBHOOK_TIMEOUT_SECONDS", "0.5"),
        ("WEBHOOK_RETRY_SCHEDULE", "5,0"),
        ("WEBHOOK_RETRY_SCHEDULE", "5,five"),
        ("FIELD_ENCRYPTION_KEYS", base64.urlsafe_b64encode(b"too short").decode()),
    ],
)
def test_bad_setting_stops_the_start_and_is_named(name: str, value: str) -> None:
    command = [sys.executable, "manage.py", "check"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, name: value}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert name in done.stderr.splitlines()[-1]
    assert name != "FIELD_ENCRYPTION_KEYS" or value not in done.stderr
