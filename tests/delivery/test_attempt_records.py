"""What is kept of an attempt: small, whole, and true."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.attempt_errors import AttemptError, error_words
from delivery.attempts.exchange import Timings
from delivery.attempts.records import AttemptRecord, pack, unpack, without_answer
from delivery.operations.deliveries import SKIPPED
from delivery.operations.inbox_leases import MAX_LEASES_ERROR
from delivery.operations.retention import EXPIRED, SUBSCRIPTION_DELETED
from delivery.webhooks.recording import EVENT_GONE
from delivery.webhooks.signing import sign

EVENT = UUID("0193a5b0-1111-7222-8333-444455556666")
MOMENT = datetime(2026, 11, 30, 9, 26, 41, 123456, tzinfo=UTC)
SENT = {
    "Host": "hooks.customer.example",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "X-Api-Key": "****0ken",
    "content-type": "application/json",
    "user-agent": "EventsPlatform/1",
    "webhook-id": str(EVENT),
    "webhook-timestamp": str(int(MOMENT.timestamp())),
    "webhook-signature": sign([b"k" * 32], str(EVENT), int(MOMENT.timestamp()), b"{}"),
    "Content-Length": "312",
}
ANSWERED = {
    "Date": "Mon, 30 Nov 2026 09:26:41 GMT",
    "Content-Type": "application/json; charset=utf-8",
    "Content-Length": "15",
    "Connection": "keep-alive",
    "Server": "nginx",
}
STORED = (
    "95cf0006617b01e81880ccc894c0c0c00e94c420709d626bf632ab86569f46890a8cb425567e4943e274260fbd9101c0846f"
    "5e41cd0138ce6b0d41510fc4528b8e86870338a4f49281e54c7e6e6a915e6a05d040585140a27fd103cd203b356f9007844e"
    "34d664484222c69272f1e740f42c0e4ce996c022c2c244cfc8d054cfd00429b9628f1b442a87a76f4259251600"
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
NUMBERS = st.none() | st.integers(0, 100_000)


def record(**values: Any) -> AttemptRecord:
    usual = {
        "started_at": MOMENT,
        "status": 200,
        "url": "https://hooks.customer.example/webhooks/events",
        "remote_address": "93.184.215.14",
        "timings": Timings(first_byte_ms=14),
        "request_headers": SENT,
        "response_headers": ANSWERED,
        "detail": "The endpoint answered 200 (OK).",
    }
    return AttemptRecord(**{**usual, **values})


def test_it_works() -> None:
    packed = pack(record(), event_id=EVENT)
    assert unpack(packed, event_id=EVENT) == record()
    assert len(packed) < 160, "a delivery that works the first time costs this, and no row"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", "0193a5b0-1111-7222-8333-000000000000"),
        ("webhook-timestamp", "1"),
        ("webhook-signature", "v1,AAAA v1a,BBBB"),
        ("webhook-signature", sign([b"a" * 32, b"b" * 32], "x", 1, b"")),
        ("webhook-signature", "v1, " + "A" * 43 + "="),
        ("webhook-signature", "é"),
        ("webhook-sequence", "17"),
        ("Content-Length", "007"),
        ("Content-Length", "0"),
        ("Content-Length", "99999999999999999999999"),
        ("Content-Length", ""),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("Date", "Mon, 30 Nov 2026 09:26:41 +0000"),
        ("Date", "Tue, 30 Nov 2026 09:26:41 GMT"),
        ("Date", "tomorrow"),
        ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("ETag", '"12345"'),
    ],
)
def test_every_value_comes_back_as_it_was(name: str, value: str) -> None:
    for headers in ({name: value}, {**SENT, name: value}, {name.upper(): value, "x": "y"}):
        kept = record(request_headers=headers, response_headers=headers)
        assert unpack(pack(kept, event_id=EVENT), event_id=EVENT) == kept


@given(
    st.dictionaries(TEXTS, TEXTS, max_size=5),
    st.dictionaries(st.sampled_from(["Date", "etag", "webhook-id", "X"]), TEXTS),
    st.builds(Timings, NUMBERS, NUMBERS, NUMBERS, NUMBERS),
    st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1)),  # noqa: DTZ001
    TEXTS,
)
def test_any_record_comes_back(
    sent: dict[str, str], answered: dict[str, str], timings: Timings, started_at: datetime, text: str
) -> None:
    kept = record(
        request_headers=sent,
        response_headers=answered,
        timings=timings,
        started_at=started_at,
        url=text,
        detail=text,
        remote_address=None,
        status=None,
    )
    assert unpack(pack(kept, event_id=EVENT), event_id=EVENT) == kept


def test_what_the_endpoint_said_can_be_forgotten() -> None:
    left = unpack(without_answer(pack(record(), event_id=EVENT), event_id=EVENT), event_id=EVENT)
    assert left == record(response_headers={})


def test_what_was_packed_by_an_earlier_version_is_read() -> None:
    """Rows live longer than code. If this fails, add a format beside the one that is stored; never change it."""
    stored = bytes.fromhex(STORED)
    assert unpack(stored, event_id=EVENT) == record()


@pytest.mark.parametrize("code", [*AttemptError, EVENT_GONE, EXPIRED, MAX_LEASES_ERROR, SKIPPED, SUBSCRIPTION_DELETED])
def test_whatever_ended_a_delivery_has_words(code: str) -> None:
    assert " " in error_words(code)


def test_words_name_the_status_of_an_answer_and_leave_unknown_codes() -> None:
    assert error_words("http_error", 503) == "It answers 503"
    assert error_words("http_error", None) == "It answers with an error"
    assert error_words("timeout", 200) == "It does not answer in time"
    assert error_words("of_a_newer_version") == "of_a_newer_version"
