"""Lines of the logs: their form, what is on them, and what never is."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from structlog.contextvars import bound_contextvars, get_contextvars

from ingestion.intake import observing
from ingestion.intake.observing import IntakeObserver, RequestLog
from observability import logs
from organizations.keys.authentication import Caller
from tests.conftest import Tenant

CALLER = Caller(
    key_id=UUID(int=1),
    key_label="k",
    organization_id=UUID(int=2),
    scopes=frozenset(),
    events_per_minute=1,
    expires_at=None,
    key_prefix="prefix",
)


def record(message: str, *arguments: object, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("test", logging.WARNING, __file__, 1, message, arguments, None)
    made.fields = fields
    return made


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[dict[str, Any]]]:
    """The fields of what one logger wrote."""
    caplog.set_level(logging.INFO)
    return lambda name: [one.__dict__["fields"] for one in caplog.records if one.name == name]


def test_a_line_is_json_with_its_context() -> None:
    with bound_contextvars(request_id="r-1"):
        line = json.loads(logs.line_formatter("json").format(record("%d done", 2, organization_id=UUID(int=7))))
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "test",
        "message": "2 done",
        "request_id": "r-1",
        "organization_id": str(UUID(int=7)),
    }


def test_a_line_for_people_is_coloured_only_where_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in logs.line_formatter("console").format(record("hello"))
    monkeypatch.setenv("NO_COLOR", "1")
    plain = logs.line_formatter("console").format(record("hello", organization_id=UUID(int=7)))
    assert "\x1b[" not in plain
    assert f"organization_id={UUID(int=7)}" in plain


def fail(hidden: str) -> None:
    raise LookupError(len(hidden))


def test_lines_for_people_are_utc_whatever_the_zone_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """gunicorn's master does not read Django's settings, which make it UTC in all other processes."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        before, line, after = datetime.now(UTC), logs.line_formatter("console").format(record("m")), datetime.now(UTC)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert any(f"{moment:%H:%M}:" in line for moment in (before, after))


def test_a_trace_shows_no_local_variables() -> None:
    failed = record("failed")
    try:
        fail("".join(["pay", "load"]))
    except LookupError as error:
        failed.exc_info = (type(error), error, error.__traceback__)
    for style in ("json", "console"):
        text = logs.line_formatter(style).format(failed)
        assert "LookupError: 7" in text
        assert "payload" not in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key evp_live_ABCDEFGHIJKLmnopqrstu0123456789", "key evp_live_ABCDEFGHIJKL…"),
        ("secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw=", "secret whsec_…"),
        ("{'Authorization': 'Bearer abc.def'}", "{'Authorization': …'}"),
        ('{"password": "a b c", "x": 1}', '{"password": …", "x": 1}'),
        ("Cookie: sessionid=abc", "Cookie: …"),
        ("sent Bearer abcdefgh123", "sent Bearer …"),
        ("redis://user:hunter2@host/0", "redis://user:…@host/0"),
        ("refused\nDETAIL:  Key (x)=(payload)\nHINT: none", "refused\nDETAIL: …\nHINT: none"),
        ("nothing to hide: a@b evp_", "nothing to hide: a@b evp_"),
    ],
)
def test_what_has_the_form_of_a_secret_is_taken_out(text: str, shown: str) -> None:
    assert logs.redact(text) == shown


def test_gunicorns_master_reads_the_same_settings() -> None:
    assert logs.configuration_of({"LOG_LEVEL": "ERROR", "LOG_FORMAT": "json"})["root"]["level"] == "ERROR"
    assert logs.configuration_of({"LOG_LEVEL": "loud", "LOG_FORMAT": "pink"}) == logs.configuration_of({})


def test_each_request_has_one_line(tenant: Tenant, lines: Any) -> None:
    tenant.get("/api/v1/organization?cursor=secret", **{"Request-Id": "abc"})
    tenant.get(f"/api/v1/events/{UUID(int=3)}")
    bad, missing = lines("requests")
    assert (bad["route"], bad["status"], bad["code"]) == ("/api/v1/organization", 422, "validation_failed")
    assert (bad["request_id"], bad["method"], bad["bytes"] > 0) == ("abc", "GET", True)
    assert (bad["organization_id"], bad["key_prefix"]) == (tenant.organization.pk, tenant.key.public_id)
    assert (missing["route"], missing["status"]) == ("/api/v1/events/<uuid:event_id>", 404)
    assert get_contextvars() == {}


def test_probes_have_no_line_unless_they_fail(tenant: Tenant, lines: Any) -> None:
    tenant.client.get("/health/live")
    tenant.client.get("/metrics")
    tenant.client.get("/metrics", REMOTE_ADDR="192.0.2.1")
    assert [line["status"] for line in lines("requests")] == [403]


@pytest.mark.parametrize(("wanted", "statuses"), [("none", []), ("errors", [404]), ("all", [200, 404])])
def test_lines_of_requests_can_be_left_out(
    tenant: Tenant, lines: Any, settings: Any, wanted: str, statuses: list[int]
) -> None:
    settings.LOG_REQUESTS = wanted
    tenant.get("/api/v1/organization")
    tenant.get("/api/v1/nowhere")
    assert [line["status"] for line in lines("requests")] == statuses


def observed(statuses: list[tuple[int, str]]) -> None:
    async def run() -> None:
        observer = IntakeObserver(lambda: 0)
        for status, code in statuses:
            observer.note(RequestLog("/api/v1/events", "r", 0.0, CALLER), status=status, code=code, size=10)
        observer.write()

    asyncio.run(run())


def test_good_answers_of_the_intake_share_a_line(lines: Any) -> None:
    observed([(202, "")] * 3)
    (line,) = lines("requests")
    assert (line["status"], line["requests"], line["bytes"], line["organization_id"]) == (202, 3, 30, UUID(int=2))


def test_bad_answers_have_their_own_lines_up_to_a_bound(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "MOST_LINES", 2)
    observed([(429, "rate_limited")] * 5)
    first, second, rest = lines("requests")
    assert (first["key_prefix"], second["code"], rest["requests"]) == ("prefix", "rate_limited", 3)


@pytest.mark.parametrize(("wanted", "count"), [("none", 0), ("errors", 1), ("all", 3)])
def test_the_intake_heeds_the_setting(lines: Any, settings: Any, wanted: str, count: int) -> None:
    settings.LOG_REQUESTS = wanted
    observed([(202, ""), (200, ""), (503, "service_unavailable")])
    assert len(lines("requests")) == count


def test_organizations_beyond_a_bound_share_a_line(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "_MOST_SUMS", 0)
    observed([(202, "")] * 2)
    (line,) = lines("requests")
    assert (line["requests"], "organization_id" in line) == (2, False)
