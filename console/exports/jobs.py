"""Exports: the events of a list as a file, made in the background.

The file lies in PostgreSQL, as compressed parts, rather than in a folder: web servers and workers may run on different
hosts, a part is written in the transaction that moves the cursor (a killed worker leaves neither a gap nor a repeated
event), and nothing is left behind when an organization is deleted. It is bounded and gone after a day, so the tables
stay small.

Events that are committed while an export runs are not in it: it covers what was received until it was asked for.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.contrib.auth.models import User
from django.core import signing
from django.db import transaction
from django.http import QueryDict

from console.events.filters import EventFilters
from console.events.searching import find_events
from console.exports.files import file_header, file_lines
from console.exports.limits import refuse_too_many, room_for
from console.models import Export, ExportFormat, ExportPart, ExportStatus
from console.paging import PAGE_SIZE
from core.broker.wakeup import Waker
from core.postgresql.portions import read_portion
from ingestion.models import LARGE, Event
from ingestion.queries import select_events
from organizations.audit import Actor, record
from organizations.jobs.models import JobStatus
from organizations.jobs.running import MAX_FAILURES, JobKind, TookTooLongError, run_jobs
from organizations.models import Organization
from rest.large_answers import PORTION_BYTES

MAX_EVENTS = 1_000_000
# As they are stored: some 2 GiB of JSON.
MAX_STORED_BYTES = 256 * 1024 * 1024
LIFETIME = timedelta(hours=24)
# One transaction: a second at most when each page looks at thousands of events, some 100 ms when an index finds it.
PAGES_PER_PART = 20
# A download has one in memory, each.
PART_BYTES = 1024 * 1024
REMOVED_AT_ONCE = 100
KEPT_DAYS = 30
_SALT = "console.export"

_waker = Waker("console.run_exports")


@dataclass(frozen=True, kw_only=True)
class _Portion:
    """The next lines of the file. `cursor` is None at the end of the list."""

    events: int
    body: bytes
    cursor: UUID | None


@transaction.atomic
def create_export(
    *, organization: Organization, user: User, wanted: EventFilters, kind: ExportFormat, actor: Actor, now: datetime
) -> Export:
    """Start an export of what `wanted` finds until `now`. Raises Problem 409 or 503 for one too many."""
    refuse_too_many(organization, now=now)
    time_to = min(wanted.time_to or now, now)
    query = replace(wanted, range="", time_to=time_to).base_query
    export = Export.objects.create(organization=organization, created_by=user, format=kind, query=query, created_at=now)
    record(
        actor=actor,
        action="export.created",
        target=export,
        organization=organization,
        changes={"format": kind.value, "query": query},
    )
    transaction.on_commit(_waker.wake)
    return export


@transaction.atomic
def cancel_export(*, export: Export, actor: Actor, now: datetime) -> bool:
    """Stop it, or end its file before its time; False when there was nothing to drop any more."""
    rows = Export.objects.filter(pk=export.pk)
    if rows.filter(status=ExportStatus.RUNNING).update(status=ExportStatus.CANCELLED, finished_at=now):
        action = "export.cancelled"
    elif rows.filter(status=ExportStatus.DONE).update(status=ExportStatus.EXPIRED, expires_at=now):
        action = "export.deleted"
    else:
        return False
    _drop_parts(export)
    record(actor=actor, action=action, target=export, organization=export.organization)
    return True


def remove_expired_exports(*, now: datetime) -> int:
    """Drop files that are too old, then also what is known of them; returns how many files."""
    done = Export.objects.filter(status=ExportStatus.DONE, expires_at__lte=now).order_by("expires_at")
    expired = list(done.values_list("pk", flat=True)[:REMOVED_AT_ONCE])
    with transaction.atomic():
        ExportPart.objects.filter(export__in=expired).delete()
        Export.objects.filter(pk__in=expired, status=ExportStatus.DONE).update(status=ExportStatus.EXPIRED)
    old = Export.objects.exclude(status__in=[ExportStatus.RUNNING, ExportStatus.DONE])
    forgotten = old.filter(created_at__lt=now - timedelta(days=KEPT_DAYS)).values_list("pk", flat=True)
    Export.objects.filter(pk__in=list(forgotten[:REMOVED_AT_ONCE])).delete()
    return len(expired)


def download_token(export: Export) -> str:
    """For the link of a file: good for a day, and only for members who may export."""
    return signing.dumps(str(export.pk), salt=_SALT)


def is_download_token(token: str, export: Export) -> bool:
    try:
        return bool(signing.loads(token, salt=_SALT, max_age=LIFETIME) == str(export.pk))
    except signing.BadSignature:
        return False


@transaction.atomic
def note_download(*, export: Export, actor: Actor) -> None:
    """Who has taken the events away."""
    record(actor=actor, action="export.downloaded", target=export, organization=export.organization)


def export_part(export_id: UUID, number: int) -> bytes:
    """A part of the file, as it is downloaded; empty when it has just been removed."""
    body = ExportPart.objects.filter(export=export_id, number=number).values_list("body", flat=True).first()
    return b"" if body is None else zlib.decompress(bytes(body))


def filters_of(export: Export) -> EventFilters:
    return EventFilters.read(QueryDict(export.query), now=export.created_at)


def _write_part(export: Export, now: datetime) -> int:
    """The next one of the file; returns one."""
    wanted = filters_of(export)
    if export.parts == 0 and export.total is None and wanted.is_indexed:
        export.total = _count(export, wanted)
    portion = _next_portion(export, wanted)
    body = zlib.compress(portion.body, level=6)
    ExportPart.objects.create(export=export, number=export.parts, body=body)
    export.cursor = portion.cursor
    export.events += portion.events
    export.parts += 1
    export.stored_size += len(body)
    export.size += len(portion.body)
    is_full = export.events >= MAX_EVENTS or export.stored_size >= min(MAX_STORED_BYTES, room_for(export))
    if portion.cursor is None or is_full:
        export.is_cut = portion.cursor is not None
        export.expires_at = now + LIFETIME
        export.end(JobStatus.DONE, now)
    return 1


def _next_portion(export: Export, wanted: EventFilters) -> _Portion:
    kind = ExportFormat(export.format)
    parts = [file_header(kind)] if export.parts == 0 else []
    size, count = 0, 0
    cursor = export.cursor
    for _ in range(PAGES_PER_PART):
        found = find_events(export.organization_id, replace(wanted, before=cursor), size=PAGE_SIZE)
        if found.timed_out:
            raise TookTooLongError
        events = found.events[: MAX_EVENTS - export.events - count]
        cursor = found.older if len(events) == len(found.events) else events[-1].pk
        for event in _with_data(export, events):
            parts.append(file_lines(kind, [event]))
            size, count = size + len(parts[-1]), count + 1
            if size >= PART_BYTES and event.pk != events[-1].pk:
                cursor = event.pk
                break
        if cursor is None or size >= PART_BYTES or export.events + count >= MAX_EVENTS:
            break
    return _Portion(events=count, body=b"".join(parts), cursor=cursor)


def _with_data(export: Export, events: list[Event]) -> Iterator[Event]:
    """The lists leave out what is large. Here it comes in portions; what aged out this very moment does not."""
    if not events:
        return
    known = {event.pk: event for event in events}
    left = Event.objects.for_organization(export.organization_id).filter(
        pk__in=list(known), pk__gte=events[-1].pk, pk__lte=events[0].pk
    )
    is_cut = True
    while is_cut:
        portion = read_portion(left, LARGE, count=len(events), size=PORTION_BYTES)
        for event in portion.rows:
            event.status, event.deliver_at = known[event.pk].status, known[event.pk].deliver_at
            yield event
        is_cut = portion.is_cut
        if portion.rows:
            left = left.filter(pk__lt=portion.rows[-1].pk)


def _count(export: Export, wanted: EventFilters) -> int:
    """Up to MAX_EVENTS: about a second."""
    return select_events(export.organization_id, wanted)[:MAX_EVENTS].count()


def _drop_parts(export: Export) -> None:
    ExportPart.objects.filter(export=export).delete()


EXPORTS = JobKind(
    jobs=Export.objects.select_related("organization"),
    portion=_write_part,
    # Most likely its filter is too slow, and will not be faster.
    max_timeouts=MAX_FAILURES,
    give_up=_drop_parts,
)
run_exports = partial(run_jobs, EXPORTS)
