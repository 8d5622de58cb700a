"""Replays and retried dead letters: bodies and answers, as the views use them and as `/api/schema` shows them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct, field

from delivery.operations.dead_letters import MAX_COUNTED as MAX_COUNTED_DEAD_LETTERS
from delivery.operations.replays import MAX_COUNTED, SETTLED_AFTER
from organizations.jobs.models import JobStatus
from rest.openapi import EXAMPLE_ID, EXAMPLE_TIME, OTHER_ID, PAGE, Listed, Time, answer, get, json_of, page_of, post

MAX_EVENT_IDS = 1_000
Count = Annotated[int, Meta(ge=0)]


class NewReplay(Struct, forbid_unknown_fields=True, kw_only=True):
    """Which events to deliver again, and to whom."""

    subscription: Annotated[UUID, Meta(description="Id of a webhook or an inbox.")]
    received_after: Annotated[datetime, Meta(tz=True, description="Inclusive.")] | None = None
    received_before: Annotated[datetime, Meta(tz=True, description="Exclusive; at most now.")] | None = None
    event_ids: (
        Annotated[
            list[UUID],
            Meta(
                min_length=1,
                max_length=MAX_EVENT_IDS,
                description="These events instead of a time range. An unknown id is a 422.",
            ),
        ]
        | None
    ) = None
    event_types: Annotated[
        list[str],
        Meta(
            description="Types; with a trailing `*`, every type that starts with it. Narrows those of the subscription."
        ),
    ] = field(default_factory=lambda: ["*"])
    only_undelivered: Annotated[
        bool, Meta(description="Only events that were never delivered to this subscription.")
    ] = False
    dry_run: Annotated[bool, Meta(description="Only count.")] = False


class ReplayShown(Struct):
    """A replay. After a dry run there is none: `id`, `status` and `created_at` are null."""

    id: UUID | None
    subscription: UUID
    status: JobStatus | None
    total: Annotated[
        int,
        Meta(
            ge=0,
            description=f"How many events it has to examine, counted up to {MAX_COUNTED:,} and beyond that as it goes."
            " The subscription's filter may let fewer of them through.",
        ),
    ]
    looked_at: Annotated[int, Meta(ge=0, description="How many of them it has examined.")]
    created: Annotated[int, Meta(ge=0, description="How many deliveries it has created.")]
    received_after: Time
    received_before: Time
    event_ids: Annotated[list[UUID] | None, Meta(description="Null when it covers a time range.")]
    event_types: list[str]
    only_undelivered: bool
    created_at: Time | None
    finished_at: Time | None
    failure: Annotated[
        str | None,
        Meta(
            description="Why the last batch failed. It is tried again for a few minutes; then the replay is `failed`."
            " Null while all is well."
        ),
    ]


class ReplayList(Listed[ReplayShown]):
    """Replays, newest first."""


class DeadLettersToRetry(Struct, forbid_unknown_fields=True):
    """All dead letters of the subscription."""

    dry_run: Annotated[bool, Meta(description="Only count.")] = False


class DeadLettersRetried(Struct):
    """`remaining` dead letters are left by a dry run, or because there were too many for one request: ask again."""

    total: Annotated[int, Meta(ge=0, description=f"How many there were, counted up to {MAX_COUNTED_DEAD_LETTERS:,}.")]
    retried: Annotated[int, Meta(ge=0, description="How many are due again.")]
    remaining: Count


_WINDOW = {"received_after": "2026-11-23T00:00:00.000000Z", "received_before": EXAMPLE_TIME}
_REPLAY = {
    "id": EXAMPLE_ID,
    "subscription": OTHER_ID,
    "status": "running",
    "total": 12_000,
    "looked_at": 4_000,
    "created": 3_900,
    **_WINDOW,
    "event_ids": None,
    "event_types": ["invoice.*"],
    "only_undelivered": False,
    "created_at": EXAMPLE_TIME,
    "finished_at": None,
    "failure": None,
}
_STARTED = {**_REPLAY, "looked_at": 0, "created": 0}
_COUNTED = {**_STARTED, "id": None, "status": None, "created_at": None}
_CANCELLED = {**_REPLAY, "status": "cancelled", "finished_at": EXAMPLE_TIME}
_NEW = {"subscription": EXAMPLE_ID, **_WINDOW}

REPLAYS = get("list_replays", "List replays", parameters=PAGE, answers=page_of(ReplayList, "replays", _REPLAY)) | post(
    "create_replay",
    "Replay events",
    "Creates new deliveries of past events for one subscription: of those in `event_ids`, or of all"
    " that were received in a time range. A webhook is sent them again; in an inbox they are pending again. The"
    " subscription's event types and filter apply as they are now. A paused or disabled subscription holds the"
    " deliveries until it is resumed. `GET /api/v1/organization` says how many replays an organization can have"
    " running, and start in a day.",
    body=json_of(
        NewReplay,
        everything=_NEW,
        some_types={**_NEW, "event_types": ["invoice.*"], "only_undelivered": True},
        some_events={"subscription": EXAMPLE_ID, "event_ids": [OTHER_ID]},
        count={**_NEW, "dry_run": True},
    ),
    answers=answer(
        "The replay has started; for a dry run, only the count of what it would examine.",
        ReplayShown,
        status=202,
        started=_STARTED,
        dry_run=_COUNTED,
    ),
    problems=("not_found", "limit_reached"),
)
REPLAY = get(
    "get_replay",
    "Show a replay's progress",
    "A time range that reaches up to now stays open for about"
    f" {SETTLED_AFTER.total_seconds():.0f} seconds, until no event of it can be missing.",
    answers=answer("The replay.", ReplayShown, running=_REPLAY),
)
CANCEL = post(
    "cancel_replay",
    "Cancel a replay",
    "It stops within a second. The deliveries it has created stay. A finished replay stays as it is.",
    answers=answer("The replay.", ReplayShown, cancelled=_CANCELLED),
)
RETRY_DEAD_LETTERS = post(
    "retry_dead_letters",
    "Retry all dead letters of a subscription",
    "Makes them due at once, oldest first, with all their attempts ahead.",
    body=json_of(DeadLettersToRetry, all={}, count={"dry_run": True}),
    body_required=False,
    answers=answer(
        "How many there were, and how many are due again.",
        DeadLettersRetried,
        retried={"total": 12, "retried": 12, "remaining": 0},
        dry_run={"total": 12, "retried": 0, "remaining": 12},
    ),
)
