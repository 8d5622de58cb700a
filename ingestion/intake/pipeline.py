"""The stages of the intake, in their order: limit, unpack, decode, validate, write. Both doors run these coroutines.

A door authenticates, hands over the request, and turns the answer (or the Problem that is raised) into HTTP.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.conf import settings
from django.utils import timezone

from core.ports import Database, Redis
from core.problems import Problem, invalid
from core.times import format_time
from core.tracing import Span
from ingestion.cpu_budget import SAVED_SECONDS, intake_budget
from ingestion.formats.batches import Results
from ingestion.formats.beginnings import MAX_BEGINNING
from ingestion.formats.decoding import DecodedEvent, Due
from ingestion.formats.dispatch import MAX_BATCH_BODY_BYTES, MAX_SINGLE_BODY_BYTES, batch_steps, decode_single
from ingestion.formats.request_headers import kept_headers
from ingestion.intake import counting
from ingestion.intake.rejections import KEPT, note_rejection
from ingestion.intake.storing import Accepted, Incoming, WriteOutcome
from ingestion.intake.validating import SchemaVerdict, check_events
from ingestion.schemas.catalogue import schema_catalogue
from ingestion.schemas.checking import Check
from organizations.keys.authentication import Submitter
from organizations.rate_limits import Allowance, limiter, rate_limited
from rest.bodies import unpack
from rest.problems import describe_problem

# An ordinary event of a batch takes half of this to decode.
EVENT_SECONDS = 10e-6
# Decoding less takes less than a millisecond.
LARGE_BODY = 32 * 1024
# Events of a batch whose errors are all told.
MAX_DESCRIBED = 20
# Some 2 ms of describing problems.
_DESCRIBED_A_STEP = 50
Store = Callable[[Sequence[Incoming]], Awaitable[list[WriteOutcome]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What the stages need from outside: reads, rate limits, checks by schemas, and the way to commit events.

    `breathe` is awaited within long work: others have their turn.
    """

    database: Database
    redis: Redis
    check: Check
    breathe: Callable[[], Awaitable[None]]
    store: Store


class IntakeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose sender is known: `headers` with names in lower case.

    `hold` is told of bytes that the body becomes more when it is unpacked, and may raise Problem 503. `span` is its own
    one when traces are recorded.
    """

    caller: Submitter
    request_id: str
    headers: Mapping[str, str]
    body: bytes
    hold: Callable[[int], None] | None = None
    span: Span | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Status and JSON body."""

    status: int
    body: bytes


class Passed(NamedTuple):
    """How a request went: its answer or why it is refused, and what the limit said, None when it was not asked."""

    result: Answer | Problem
    allowance: Allowance | None


async def receive_event(ports: Ports, request: IntakeRequest) -> Passed:
    """One event: 202, or 200 for a duplicate. With a Problem nothing of it is stored, or not acknowledged."""
    organization_id = request.caller.organization_id
    allowance = event = None
    try:
        allowance = await limiter.take(ports.redis, request.caller, 1)
        if not allowance.allowed:
            raise rate_limited(request.caller, allowance, 1)
        event = _decoded(request)
        await schema_catalogue.refresh(ports.database)
        (verdict,) = await check_events(ports.check, organization_id, [event])
        incoming = _incoming(organization_id, event, verdict, _origin(request))
        if isinstance(incoming, Problem):
            raise incoming
        (outcome,) = await ports.store([incoming])
        if isinstance(outcome, Problem):
            raise outcome
    except Problem as problem:
        _note_refused(request, problem, event, body=request.body)
        return Passed(problem, allowance)
    counting.note_outcome(organization_id, outcome)
    if request.span is not None:
        request.span.note("event.id", str(outcome.id))
        request.span.note("event.type", event.type)
    body: dict[str, Any] = {
        "id": str(outcome.id),
        "type": event.type,
        "status": outcome.status.value,
        "duplicate": outcome.duplicate,
        "received_at": format_time(outcome.received_at),
    }
    if outcome.deliver_at is not None:
        body["deliver_at"] = format_time(outcome.deliver_at)
    if incoming.schema_errors:
        body["schema_errors"] = msgspec.Raw(incoming.schema_errors.encode())
    return Passed(Answer(status=200 if outcome.duplicate else 202, body=msgspec.json.encode(body)), allowance)


async def receive_batch(ports: Ports, request: IntakeRequest) -> Passed:
    """Many events: 202, or 422 in the same shape when all are bad. A Problem when the whole batch is refused."""
    caller = request.caller
    allowance = None
    try:
        items = await _decoded_batch(ports, request)
        allowance = await limiter.take(ports.redis, caller, len(items))
        if not allowance.allowed:
            raise rate_limited(caller, allowance, len(items))
        # The plan has taken them: what decoding an ordinary event takes is paid for.
        intake_budget.spend(caller.organization_id, -EVENT_SECONDS * len(items))
        await schema_catalogue.refresh(ports.database)
        origin = _origin(request)
        events = [item for item in items if not isinstance(item, Problem)]
        verdicts = iter(await check_events(ports.check, caller.organization_id, events))
        results = [
            item if isinstance(item, Problem) else _incoming(caller.organization_id, item, next(verdicts), origin)
            for item in items
        ]
        good = [result for result in results if isinstance(result, Incoming)]
        stored = iter(await ports.store(good) if good else ())
    except Problem as problem:
        _note_refused(request, problem, None, body=request.body)
        return Passed(problem, allowance)
    outcomes = [next(stored) if isinstance(result, Incoming) else result for result in results]
    _note_refused_items(request, items, outcomes)
    return Passed(await _batch_answer(ports, caller, outcomes), allowance)


def _note_refused_items(
    request: IntakeRequest, items: Sequence[DecodedEvent | Problem], outcomes: Sequence[WriteOutcome]
) -> None:
    """Count all of them; only the last ones can be looked at later."""
    refused = [(index, outcome) for index, outcome in enumerate(outcomes) if isinstance(outcome, Problem)]
    for code, count in Counter(problem.problem_type.code for _, problem in refused).items():
        counting.note(request.caller.organization_id, code, count)
    for index, problem in refused[-KEPT:]:
        item = items[index]
        event = None if isinstance(item, Problem) else item
        data = "" if event is None else event.data[: 2 * MAX_BEGINNING]
        _keep_refused(request, problem, event, index=index, body=data.encode())


def _note_refused(request: IntakeRequest, problem: Problem, event: DecodedEvent | None, *, body: bytes) -> None:
    """Count the request, and keep it."""
    counting.note_outcome(request.caller.organization_id, problem)
    _keep_refused(request, problem, event, body=body)


def _keep_refused(
    request: IntakeRequest, problem: Problem, event: DecodedEvent | None, *, index: int | None = None, body: bytes
) -> None:
    """For the page of rejected requests; `event` is what was decoded of it."""
    note_rejection(
        request.caller.organization_id,
        problem,
        request_id=request.request_id,
        key_prefix=request.caller.key_prefix,
        type="" if event is None else event.type,
        index=index,
        body=b"" if "content-encoding" in request.headers and index is None else body,
    )


def _origin(request: IntakeRequest) -> str | None:
    """What the request leaves with each of its events, a JSON object: its headers, and its place in a trace."""
    kept = kept_headers(request.headers)
    if request.span is None or (context := request.span.context) is None:
        return kept
    request.span.note("organization.id", str(request.caller.organization_id))
    traced = f'{{"traceparent":"{context.traceparent}"'
    return traced + (f",{kept[1:]}" if kept else "}")


def _decoded(request: IntakeRequest) -> DecodedEvent:
    """The event of the body. The time that a large one takes, however small it was sent, is the organization's."""
    body = _unpacked(request, MAX_SINGLE_BODY_BYTES)
    if len(body) < LARGE_BODY:
        return decode_single(request.headers, body)
    with intake_budget.spending(request.caller.organization_id):
        return decode_single(request.headers, body)


async def _decoded_batch(ports: Ports, request: IntakeRequest) -> Results:
    """Its time is the organization's too. What others of its batches take meanwhile may overdraw that somewhat."""
    organization_id = request.caller.organization_id
    with intake_budget.spending(organization_id):
        steps = batch_steps(request.headers, _unpacked(request, MAX_BATCH_BODY_BYTES))
    while True:
        with intake_budget.spending(organization_id, overdraft=SAVED_SECONDS):
            try:
                next(steps)
            except StopIteration as finished:
                results: Results = finished.value
                return results
        await ports.breathe()


def _unpacked(request: IntakeRequest, limit: int) -> bytes:
    """The body without its Content-Encoding; Problem 413 above `limit` bytes."""
    if encoding := request.headers.get("content-encoding"):
        body = unpack(request.body, encoding, limit)
        if request.hold is not None:
            request.hold(len(body))
        return body
    if len(request.body) > limit:
        raise Problem("payload_too_large", f"The body is over {limit} bytes.")
    return request.body


def _incoming(
    organization_id: UUID, event: DecodedEvent, verdict: SchemaVerdict | None, origin: str | None
) -> Incoming | Problem:
    """The event after the schema of its type, with the errors noted in `warn` mode, unless it is too far ahead."""
    if event.due is not None and (problem := _too_far(event.due)):
        return problem
    if verdict is None:
        return Incoming(organization_id, event, origin=origin)
    if verdict.problem is not None:
        return verdict.problem
    errors = msgspec.json.encode(verdict.errors).decode()
    return Incoming(organization_id, event, schema_errors=errors, origin=origin)


def _too_far(due: Due) -> Problem | None:
    """By this process's clock: some minutes more or less of a month are nothing."""
    days: int = settings.SCHEDULE_MAX_DAYS
    seconds = due.delay_seconds or 0
    if due.deliver_at is not None:
        seconds = (due.deliver_at - timezone.now()).total_seconds()
    if seconds <= days * 86_400:
        return None
    return invalid(due.pointer, "too_far", f"An event can be handed on at most {days} days ahead.")


async def _batch_answer(ports: Ports, caller: Submitter, outcomes: Sequence[WriteOutcome]) -> Answer:
    results: list[dict[str, Any]] = []
    accepted = duplicates = told = 0
    # Events that were refused alike share a problem.
    described: dict[int, dict[str, Any]] = {}
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Accepted):
            duplicates += outcome.duplicate
            accepted += not outcome.duplicate
            status = "duplicate" if outcome.duplicate else outcome.status.value
            results.append({"index": index, "id": str(outcome.id), "status": status})
        else:
            if id(outcome) not in described:
                described[id(outcome)] = _described(outcome, told)
                if told % _DESCRIBED_A_STEP == 0:
                    await ports.breathe()
            results.append({"index": index, "id": None, "status": "rejected", "error": described[id(outcome)]})
            told += 1
    counting.note(caller.organization_id, counting.ACCEPTED, accepted)
    counting.note(caller.organization_id, counting.DUPLICATE, duplicates)
    rejected = len(outcomes) - accepted - duplicates
    body = {"accepted": accepted, "duplicates": duplicates, "rejected": rejected, "results": results}
    return Answer(status=422 if rejected == len(outcomes) else 202, body=msgspec.json.encode(body))


def _described(problem: Problem, told: int) -> dict[str, Any]:
    """In full for the first ones; then each with its first error, or a small batch would have a huge answer."""
    described = describe_problem(problem)
    if told >= MAX_DESCRIBED and "errors" in described:
        described["errors"] = described["errors"][:1]
    return described
