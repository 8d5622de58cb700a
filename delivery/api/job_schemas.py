"""Jobs: bodies and answers, as the views use them and as `/api/schema` shows them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct, field

from delivery.operations.dead_letters import MAX_COUNTED
from organizations.jobs.models import JobStatus
from rest.openapi import EXAMPLE_ID, EXAMPLE_TIME, OTHER_ID, Time, answer, get, json_of, post

Counted = Annotated[int, Meta(ge=0)]


class NewRetry(Struct, forbid_unknown_fields=True, kw_only=True):
    """Which dead letters of the subscription; all without a filter."""

    event_types: Annotated[
        list[str], Meta(description="Types; with a trailing `*`, every type that starts with it.")
    ] = field(default_factory=lambda: ["*"])
    error: Annotated[str, Meta(max_length=40, description="The error of the last attempt.")] | None = None
    received_after: Annotated[datetime, Meta(tz=True, description="Events received at or after this time.")] | None = (
        None
    )
    received_before: Annotated[datetime, Meta(tz=True, description="Events received before this time.")] | None = None
    dry_run: Annotated[bool, Meta(description="Only count.")] = False


class JobShown(Struct):
    """A job. After a dry run there is none: `id`, `status` and `started_at` are null."""

    id: UUID | None
    kind: Annotated[str, Meta(description="`dead_letter_retry` or `replay`.")]
    subscription: UUID
    status: JobStatus | None
    total: Annotated[int, Meta(ge=0, description=f"How many there are, counted up to {MAX_COUNTED:,} at first.")]
    done: Annotated[
        int, Meta(ge=0, description="How many are due again; for a replay, how many events it has examined.")
    ]
    delivered: Annotated[
        Counted | None, Meta(description="How many of them were delivered or acknowledged. Null for a replay.")
    ]
    failed_again: Annotated[Counted | None, Meta(description="How many failed again at their next attempt.")]
    started_at: Time | None
    finished_at: Time | None
    failure: Annotated[str | None, Meta(description="Why the last batch failed. Null while all is well.")]


_JOB = {
    "id": EXAMPLE_ID,
    "kind": "dead_letter_retry",
    "subscription": OTHER_ID,
    "status": "running",
    "total": 1_200,
    "done": 1_000,
    "delivered": 640,
    "failed_again": 3,
    "started_at": EXAMPLE_TIME,
    "finished_at": None,
    "failure": None,
}
_STARTED = {**_JOB, "done": 0, "delivered": 0, "failed_again": 0}
_COUNTED = {**_STARTED, "id": None, "status": None, "started_at": None}
_CANCELLED = {**_JOB, "status": "cancelled", "finished_at": EXAMPLE_TIME}

JOB = get(
    "get_job",
    "Show a job's progress",
    "Retries of dead letters, and replays. Deliveries are counted as delivered or failed once their"
    " next attempt is over, which may be after the job has finished.",
    answers=answer("The job.", JobShown, running=_JOB),
)
CANCEL = post(
    "cancel_job",
    "Cancel a job",
    "It stops within a second. What is due again already stays so. A finished job stays as it is.",
    answers=answer("The job.", JobShown, cancelled=_CANCELLED),
)
RETRY = post(
    "start_dead_letter_retry",
    "Retry dead letters of a subscription",
    "Starts a job that makes them due at once, oldest first, with all their attempts ahead.",
    body=json_of(
        NewRetry,
        all={},
        some={"event_types": ["invoice.*"], "error": "timeout", "received_after": EXAMPLE_TIME},
        count={"dry_run": True},
    ),
    body_required=False,
    answers=answer(
        "The job has started; for a dry run, only the count of what it would retry.",
        JobShown,
        status=202,
        started=_STARTED,
        dry_run=_COUNTED,
    ),
    problems=("limit_reached",),
)
