"""Events looked at one by one, newest first, for what no index knows: subjects, and values in data.

A look ends with the page full, after BUDGET_SECONDS, or at the oldest event; it says how far it came, and the next one
goes on from there. The answers come in portions of a cursor, so what was found in time is kept when a portion of very
large events takes too long.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection

from console.access import OrganizationContext
from console.search.wanted import Wanted
from core.event_ids import HIGHEST_ID
from ingestion.data_paths import has_brackets, json_path, json_path_anywhere, steps_of, typed_and_text
from ingestion.stored_data import AS_JSONB

PAGE = 25
# With what comes before and after, an answer is there within a second.
BUDGET_SECONDS = 0.7
# Small at first: a portion of the largest events (256 KiB each) shall fit into the budget, too.
_PORTIONS = (20, 100, 400)

# A text that holds the value has it word for word, or spelled with a backslash: only those are parsed.
_IN_TEXT = "coalesce(data_text, data::text)"
_ANYWHERE = f"""
    CASE WHEN strpos({_IN_TEXT}, %(text)s) > 0 OR strpos({_IN_TEXT}, chr(92)) > 0
         THEN jsonb_path_exists({AS_JSONB}, %(path)s::jsonpath,
                                jsonb_build_object('typed', ingestion_jsonb(%(typed)s)), true)
         ELSE false END"""
_AT_JSON_PATH = f"""
    jsonb_path_exists({AS_JSONB}, %(path)s::jsonpath,
                      jsonb_build_object('typed', ingestion_jsonb(%(typed)s), 'text', ingestion_jsonb(%(as_text)s)),
                      true)"""
_AT_PATH = f"{AS_JSONB} #> %(steps)s::text[] IN (ingestion_jsonb(%(typed)s), ingestion_jsonb(%(as_text)s))"
_COLUMNS = """
    CASE WHEN strpos(subject, %(text)s) > 0 OR strpos(source, %(text)s) > 0 OR idempotency_key = %(text)s
              OR annotations #>> '{{headers,request-id}}' = %(text)s OR {type}
         THEN true ELSE {data} END"""
_SCAN = """
SELECT id, coalesce({matches}, false) FROM ingestion_event
WHERE {organization} id < %(before)s ORDER BY id DESC
"""


@dataclass(kw_only=True)
class Progress:
    """The ids of what matches, newest first; of what was looked at the number and the last one."""

    hits: list[UUID] = field(default_factory=list)
    looked_at: int = 0
    last: UUID | None = None
    is_at_end: bool = False


def look(
    progress: Progress, wanted: Wanted, place: OrganizationContext | None, *, before: UUID | None, with_data: bool
) -> None:
    """At the organization's events, or with None at everybody's; within a transaction of short statements.

    `with_data`: the person may read their data. Raises OperationalError for a portion that takes too long, and
    DataError for what PostgreSQL cannot hold.
    """
    ends_at = time.monotonic() + BUDGET_SECONDS
    with connection.chunked_cursor() as cursor:
        cursor.execute(*_statement(wanted, place, before, with_data=with_data))
        for size in _sizes():
            rows = cursor.fetchmany(size)
            for event_id, matches in rows:
                progress.last = event_id
                progress.looked_at += 1
                if matches:
                    progress.hits.append(event_id)
                    if len(progress.hits) == PAGE:
                        return
            if len(rows) < size:
                progress.is_at_end = True
                return
            if time.monotonic() >= ends_at:
                return


def _sizes() -> Iterator[int]:
    yield from _PORTIONS
    while True:
        yield _PORTIONS[-1]


def _statement(
    wanted: Wanted, place: OrganizationContext | None, before: UUID | None, *, with_data: bool
) -> tuple[str, dict[str, Any]]:
    values: dict[str, Any] = {"before": before or HIGHEST_ID}
    if place is not None:
        values["organization"] = place.organization.pk
    if wanted.path:
        matches = _AT_JSON_PATH if has_brackets(wanted.path) else _AT_PATH
        values |= {"path": json_path(wanted.path), "steps": steps_of(wanted.path)}
        values["typed"], values["as_text"] = typed_and_text(wanted.value)
    else:
        of_type = "starts_with(type, %(type)s)" if wanted.is_pattern else "type = %(type)s"
        matches = _COLUMNS.format(data=_ANYWHERE if with_data else "false", type=of_type)
        values |= {"text": wanted.text, "path": json_path_anywhere(wanted.text)}
        values["typed"], _ = typed_and_text(wanted.text)
        values["type"] = wanted.text[:-1] if wanted.is_pattern else wanted.text
    organization = "" if place is None else "organization_id = %(organization)s AND"
    return _SCAN.format(matches=matches, organization=organization), values
