"""Lists: query parameters that are checked, cursors that cannot be forged, pages that are bounded by rows and bytes."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
from django.core import signing
from django.db.models import Model, QuerySet
from django.http.response import HttpResponseBase
from django.utils.dateparse import parse_datetime
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from core.field_errors import cut, pointer_to
from core.postgresql.portions import Large, Portion, read_portion
from core.problems import Problem, invalid
from rest import large_answers
from rest.compat import django_request
from rest.large_answers import Slot, answer_of, json_members

DEFAULT_LIMIT = 50
MAX_LIMIT = 1000
M = TypeVar("M", bound=Model)


@dataclass(frozen=True, kw_only=True)
class Page:
    """Which rows a client asked for: at most `limit`, with primary keys below `before`, which is one as text."""

    limit: int
    before: str | None
    name: str


class KnownParameters(BasePermission):
    """422 for a query parameter that the operation does not have, or that is given twice."""

    def has_permission(self, request: Request, view: Any) -> bool:
        operation = view.operations.get("GET" if request.method == "HEAD" else request.method)
        if operation is not None and operation.refuses_parameters:
            _check_parameters(request, {each.name for each in operation.parameters if each.place == "query"})
        return True


def _check_parameters(request: Request, known: Collection[str]) -> None:
    for name, values in request.query_params.lists():
        if name not in known:
            raise invalid(pointer_to(name), "unknown_parameter", f"There is no parameter {cut(name)!r} here.")
        if len(values) > 1:
            raise invalid(f"/{name}", "repeated_parameter", f"The parameter {name!r} is given twice.")
        if "\x00" in values[0]:
            raise invalid(f"/{name}", "invalid", "NUL characters cannot be stored or searched.")


def read_page(request: Request, name: str) -> Page:
    """`?limit=` and `?cursor=` of the list `name`."""
    given = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= MAX_LIMIT and len(given) <= 9):
        raise invalid("/limit", "out_of_range", f"limit is a number from 1 to {MAX_LIMIT}.")
    cursor = request.query_params.get("cursor")
    return Page(limit=int(given), before=None if cursor is None else _read_cursor(cursor, name), name=name)


@dataclass(frozen=True, kw_only=True)
class Listing(Generic[M]):
    """What a list is made of: its rows in any order, and what they look like in an answer, each in its turn.

    `large` are the columns of which a row may have much. What `describe` shows as None is left out. `older` is the
    primary key to go on below after the last row: of rows that were searched for there may be more than were found.
    """

    rows: "QuerySet[M]"
    describe: Callable[[Sequence[M]], Iterable[Any]]
    large: Large | None = None
    older: UUID | None = None


def list_answer(request: Request, page: Page, listing: Listing[M], *, owner: UUID) -> HttpResponseBase:
    """`{"data": […], "next_cursor": …}`: the newest rows below the cursor, as many as `limit` and MAX_BYTES allow.

    `owner` is the organization. Rows that are committed late with an older id can only appear behind the reader, never
    make him skip one.
    """
    slot = Slot(owner.int)
    return answer_of(django_request(request), _chunks(_Reader(page, listing, slot)), slot)


class _Reader(Generic[M]):
    """Reads a page portion by portion; afterwards `cursor` says where the next page begins."""

    def __init__(self, page: Page, listing: Listing[M], slot: Slot) -> None:
        self.cursor: str | None = None
        self._page = page
        self._listing = listing
        self._slot = slot
        self._before = page.before
        self._rows = self._bytes = 0
        # One more than are shown tells whether there are more. Rows that turn out to be small soon come by the hundred.
        self._count = DEFAULT_LIMIT + 1 if listing.large else MAX_LIMIT + 1

    def portions(self) -> Iterator[list[bytes]]:
        """The rows, encoded."""
        while True:
            count = min(self._count, self._page.limit - self._rows + 1)
            portion = self._read(count)
            items, is_full = self._encoded(portion.rows)
            yield items
            is_end = not portion.is_cut and len(portion.rows) < count
            if is_end and not is_full:
                self._before = str(self._listing.older) if self._listing.older else None
            if is_full or is_end:
                self.cursor = self._before and signing.dumps(self._before, salt=_salt(self._page.name))
                return
            self._count = max(1, len(portion.rows)) if portion.is_cut else self._count * 2

    def _read(self, count: int) -> Portion[M]:
        rows = self._listing.rows
        if self._before is not None:
            rows = rows.filter(pk__lt=self._before)
        return read_portion(rows, self._listing.large or {}, count=count, size=large_answers.PORTION_BYTES)

    def _encoded(self, rows: Sequence[M]) -> tuple[list[bytes], bool]:
        """Those that the page has room for, and whether a row is left that it has none for."""
        items: list[bytes] = []
        for row, shown in zip(rows, self._listing.describe(rows), strict=True):
            item = b"" if shown is None else msgspec.json.encode(shown)
            if self._rows == self._page.limit or (self._rows and not self._has_room(len(item))):
                return items, True
            self._before = str(row.pk)
            self._rows += 1
            self._bytes += len(item)
            if item:
                items.append(item)
        return items, False

    def _has_room(self, size: int) -> bool:
        """A page of more than a portion needs the slot."""
        total = self._bytes + size
        return total <= large_answers.MAX_BYTES and (total <= large_answers.PORTION_BYTES or self._slot.take())


def _chunks(reader: _Reader[Any]) -> Iterator[bytes]:
    yield from json_members({}, "data", reader.portions())
    yield b',"next_cursor":' + msgspec.json.encode(reader.cursor) + b"}"


def read_text(request: Request, name: str) -> str:
    """A query parameter, or nothing when it is not given. 422 for an empty one: it would filter nothing."""
    given = request.query_params.get(name)
    if given == "":
        raise invalid(f"/{name}", "invalid", f"The parameter {name} is empty. Leave it out to take any.")
    return given or ""


def read_time(request: Request, name: str) -> datetime | None:
    """A query parameter in RFC 3339, with its offset; None when it is not given."""
    given = request.query_params.get(name)
    if given is None:
        return None
    try:
        moment = parse_datetime(given.replace(" ", "+"))
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):  # no such day, or a year before 1 or after 9999 in UTC
        pass
    raise invalid(f"/{name}", "invalid_time", "Give the time in RFC 3339, such as 2026-11-23T10:00:00Z.")


def _read_cursor(cursor: str, name: str) -> str:
    try:
        return str(signing.loads(cursor, salt=_salt(name)))
    except (signing.BadSignature, ValueError) as error:
        raise Problem("invalid_cursor") from error


def _salt(name: str) -> str:
    return f"cursor:{name}"
