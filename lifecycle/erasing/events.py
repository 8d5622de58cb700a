"""Events of an organization leave, or parts of them do, by what their data says (docs/adr/0010)."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from django.db import connection, transaction

from core.event_ids import HIGHEST_ID, LOWEST_ID, lowest_id
from core.postgresql.arrays import text_array, uuid_array
from core.postgresql.portions import read_portion
from delivery.operations.retention import forget_responses, remove_deliveries_of_events
from ingestion.fields import FIELDS
from ingestion.formats.decoding import rounded
from ingestion.models import LARGE, Event, ProcessingFailure
from ingestion.operations.retention import remove_events_by_id
from ingestion.stored_data import AS_JSONB
from lifecycle.erasing.redacting import redacted
from lifecycle.models import Erasure, ErasureKind
from organizations.audit import Actor, record
from organizations.jobs.models import JobStatus
from organizations.models import Organization
from rest.large_answers import PORTION_BYTES

# Each may have 256 KiB, which stay in the database.
EVENTS_PER_BATCH = 1_000
COLUMNS = (*(field.name for field in FIELDS if field.is_erasable), "annotations")
_SEARCHED = ", ".join(field.name for field in FIELDS)
_PAGE = f"""
WITH page AS MATERIALIZED (
    SELECT id, {_SEARCHED}, received_at, data_text, data FROM ingestion_event
    WHERE organization_id = %(organization)s AND id > %(cursor)s AND id < %(end)s
    ORDER BY organization_id, id LIMIT %(limit)s
)
SELECT id, ({{conditions}}) IS TRUE FROM page ORDER BY id
"""  # noqa: S608 - the names are our own
_WRITE = """
UPDATE ingestion_event AS event SET
    data_text = CASE WHEN event.data_text IS NOT NULL THEN given.text END,
    data = CASE WHEN event.data IS NOT NULL THEN given.rounded::jsonb END
FROM unnest(%(ids)s::uuid[], %(texts)s::text[], %(rounded)s::text[]) AS given (id, text, rounded)
WHERE event.id = given.id
"""


class InvalidCriteriaError(ValueError):
    """A condition or a path that makes no sense; the text says which."""


@dataclass(frozen=True, kw_only=True)
class ErasureCriteria:
    """Which events: all `where` conditions hold, `("data.user.email", "ann@example.com")`, and type and times fit.

    `redact` names what is emptied in them: paths in the data, or COLUMNS; without any the whole events leave.
    """

    where: Sequence[tuple[str, str]]
    type: str = ""
    received_after: datetime | None = None
    received_before: datetime | None = None
    redact: Sequence[str] = ()

    def __post_init__(self) -> None:
        for path in [*(path for path, _ in self.where), *self.redact]:
            first, *rest = path.split(".")
            if "\x00" in path or not (path in COLUMNS or (first == "data" and rest and all(rest))):
                raise InvalidCriteriaError(f"{path} is neither data.<path> nor one of {', '.join(COLUMNS)}.")
        if any(path == "annotations" for path, _ in self.where):
            raise InvalidCriteriaError("annotations can be redacted, but not searched.")
        if not (self.where or self.type or self.received_after or self.received_before):
            raise InvalidCriteriaError("Say which events: by a path, the type or the time.")
        if any("\x00" in text for pair in self.where for text in pair):
            raise InvalidCriteriaError("NUL characters cannot be stored, so no event has one.")

    def as_json(self) -> dict[str, Any]:
        times = (self.received_after, self.received_before)
        after, before = (moment.isoformat() if moment else None for moment in times)
        return {**asdict(self), "received_after": after, "received_before": before}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        times = {
            name: datetime.fromisoformat(stored[name]) if stored[name] else None
            for name in ("received_after", "received_before")
        }
        return cls(
            where=[(path, value) for path, value in stored["where"]],
            type=stored["type"],
            redact=stored["redact"],
            **times,
        )


def read_conditions(texts: Sequence[str]) -> list[tuple[str, str]]:
    """`data.user.email=ann@example.com` → path and value. Raises InvalidCriteriaError."""
    pairs = [text.strip().partition("=") for text in texts]
    if bad := [path for path, sign, _ in pairs if not sign]:
        raise InvalidCriteriaError(f"{bad[0]} is not PATH=VALUE.")
    return [(path.strip(), value) for path, _, value in pairs]


@transaction.atomic
def start_event_erasure(*, organization: Organization, criteria: ErasureCriteria, actor: Actor) -> Erasure:
    """Begin; the audit log tells the paths, never the values that they are compared with."""
    erasure = Erasure.objects.create(
        kind=ErasureKind.REDACTION if criteria.redact else ErasureKind.EVENTS,
        organization_id=organization.pk,
        criteria=criteria.as_json(),
        actor_kind=actor.kind,
        actor_label=actor.label[:200],
    )
    record(actor=actor, action="events.erasure_started", target=erasure, organization=organization,
           changes=_told(criteria))  # fmt: skip
    return erasure


def count_events(organization_id: UUID, criteria: ErasureCriteria) -> int:
    """How many events would be erased; looks at every one of the organization's, page by page."""
    cursor, count = _first(criteria), 0
    while page := _page(organization_id, criteria, cursor):
        count += sum(fits for _, fits in page)
        cursor = page[-1][0]
    return count


def erase_events(erasure: Erasure, now: datetime) -> int:
    """A portion of the job: one page; returns how many events it looked at, and one for the end."""
    criteria = ErasureCriteria.from_json(erasure.criteria)
    page = _page(erasure.organization_id, criteria, erasure.cursor or _first(criteria))
    if ids := [event_id for event_id, fits in page if fits]:
        _apply(erasure, criteria, ids)
    erasure.looked_at += len(page)
    if page:
        erasure.cursor = page[-1][0]
    else:
        _finish(erasure, criteria, now)
    return len(page) or 1


def _apply(erasure: Erasure, criteria: ErasureCriteria, ids: list[UUID]) -> None:
    organization_id = erasure.organization_id
    if criteria.redact:
        _redact(ids, criteria.redact)
        ProcessingFailure.objects.filter(event_id__in=ids).update(error="")
        erasure.removed_more("responses emptied", forget_responses(organization_id=organization_id, event_ids=ids))
        erasure.removed_more("events redacted", len(ids))
    else:
        removed = remove_deliveries_of_events(organization_id=organization_id, event_ids=ids)
        erasure.removed_more("deliveries", removed)
        remove_events_by_id(ids)
        erasure.removed_more("events", len(ids))


def _redact(ids: list[UUID], names: Sequence[str]) -> None:
    """The only place that changes an event's row. What is sent from now on is read from the changed row."""
    rows = Event.objects.filter(pk__in=ids, pk__gte=min(ids), pk__lte=max(ids))
    # In order, and before the data are read: another redaction of the same events must not bring back what this one
    # takes away.
    list(rows.order_by("pk").select_for_update().values_list("pk"))
    if columns := [name for name in names if name in COLUMNS]:
        rows.update(**dict.fromkeys(columns))
    paths = [path.split(".")[1:] for path in names if path not in COLUMNS]
    is_cut = bool(paths)
    while is_cut:
        portion = read_portion(rows, LARGE, count=len(ids), size=PORTION_BYTES)
        _write(portion.rows, [redacted(event.data, paths) for event in portion.rows])
        is_cut = portion.is_cut
        if portion.rows:
            rows = rows.filter(pk__lt=portion.rows[-1].pk)


def _write(events: Sequence[Event], texts: Sequence[str]) -> None:
    """The events' new data, in the same order, into the columns that have their data now."""
    # What comes from jsonb goes back as it is.
    kept = [text if event.data_text is None else rounded(text) for event, text in zip(events, texts, strict=True)]
    values = {
        "ids": uuid_array(event.pk for event in events),
        "texts": text_array(texts),
        "rounded": text_array(kept),
    }
    with connection.cursor() as cursor:
        cursor.execute(_WRITE, values)


def _page(organization_id: UUID, criteria: ErasureCriteria, cursor: UUID) -> list[tuple[UUID, bool]]:
    """The next events of the organization, and whether each fits."""
    values: dict[str, Any] = {
        "organization": organization_id,
        "cursor": cursor,
        "end": HIGHEST_ID,
        "limit": EVENTS_PER_BATCH,
    }
    conditions = ["true"]
    if criteria.type:
        is_prefix = criteria.type.endswith("*")
        conditions.append("starts_with(type, %(type)s)" if is_prefix else "type = %(type)s")
        values["type"] = criteria.type.removesuffix("*")
    for sign, name in ((">=", "received_after"), ("<", "received_before")):
        if moment := getattr(criteria, name):
            conditions.append(f"received_at {sign} %({name})s")
            values[name] = moment
    for number, (path, value) in enumerate(criteria.where):
        if path in COLUMNS:
            conditions.append(f"{path} = %(plain{number})s")
        else:  # numbers and strings of JSON are different things, and people type neither quotes nor types
            wanted = f"(ingestion_jsonb(%(text{number})s), ingestion_jsonb(%(json{number})s))"
            conditions.append(f"{AS_JSONB} #> %(path{number})s::text[] IN {wanted}")
        values |= {f"path{number}": text_array(path.split(".")[1:]), f"text{number}": json.dumps(value),
                   f"plain{number}": value, f"json{number}": _as_json(value)}  # fmt: skip
    with connection.cursor() as db:
        db.execute(_PAGE.format(conditions=" AND ".join(conditions)), values)
        return list(db.fetchall())


def _as_json(value: str) -> str:
    """The value as a number, a boolean or null when it reads like one; else as a string."""
    try:
        parsed = json.loads(value, parse_constant=str)
    except ValueError:
        return json.dumps(value)
    return value if parsed is None or isinstance(parsed, bool | int | float) else json.dumps(value)


def _first(criteria: ErasureCriteria) -> UUID:
    """An event's id is made within a moment of its time; what fits is told by the time itself."""
    return lowest_id(criteria.received_after.replace(second=0, microsecond=0)) if criteria.received_after else LOWEST_ID


def _finish(erasure: Erasure, criteria: ErasureCriteria, now: datetime) -> None:
    erasure.end(JobStatus.DONE, now)
    erasure.criteria = {}
    organization = Organization.objects.filter(pk=erasure.organization_id).first()
    record(
        actor=Actor(kind=erasure.actor_kind, label=erasure.actor_label),
        action="events.redacted" if criteria.redact else "events.erased",
        target=erasure,
        organization=organization,
        changes={**_told(criteria), "removed": erasure.removed},
    )


def _told(criteria: ErasureCriteria) -> dict[str, Any]:
    """For the audit log: everything but the values, which are what has to go."""
    times = {name: value for name, value in criteria.as_json().items() if name.startswith("received_") and value}
    told = {
        "where": [path for path, _ in criteria.where],
        "type": criteria.type,
        "redact": list(criteria.redact),
        **times,
    }
    return {name: value for name, value in told.items() if value}
