"""Lists: query parameters that are checked, and keyset cursors that cannot be forged."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from django.core import signing
from django.db.models import Model, QuerySet
from django.utils.dateparse import parse_datetime
from rest_framework.request import Request

from rest.field_errors import cut, pointer_to
from rest.problems import Problem, invalid

DEFAULT_LIMIT = 50
MAX_LIMIT = 1000
M = TypeVar("M", bound=Model)


@dataclass(frozen=True, kw_only=True)
class Page:
    """Which rows a client asked for: at most `limit`, with primary keys below `before`, which is one as text."""

    limit: int
    before: str | None
    name: str


def check_parameters(request: Request, allowed: Collection[str]) -> None:
    """422 for a query parameter that the endpoint does not have, or that is given twice."""
    for name, values in request.query_params.lists():
        if name not in allowed:
            raise invalid(pointer_to(name), "unknown_parameter", f"There is no parameter {cut(name)!r} here.")
        if len(values) > 1:
            raise invalid(f"/{name}", "repeated_parameter", f"The parameter {name!r} is given twice.")
        if "\x00" in values[0]:
            raise invalid(f"/{name}", "invalid", "NUL characters cannot be stored or searched.")


def read_page(request: Request, name: str, allowed: Collection[str] = ()) -> Page:
    """`?limit=` and `?cursor=` of the list `name`; every other parameter must be in `allowed`."""
    check_parameters(request, {"limit", "cursor", *allowed})
    given = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= MAX_LIMIT and len(given) <= 9):
        raise invalid("/limit", "out_of_range", f"limit is a number from 1 to {MAX_LIMIT}.")
    cursor = request.query_params.get("cursor")
    return Page(limit=int(given), before=None if cursor is None else _read_cursor(cursor, name), name=name)


def newest_first(rows: "QuerySet[M]", page: Page) -> tuple[list[M], str | None]:
    """The page of `rows`, newest id first, and the cursor of the next one.

    Rows that are committed late with an older id can only appear behind the reader, never make him skip one.
    """
    if page.before is not None:
        rows = rows.filter(pk__lt=page.before)
    found = list(rows.order_by("-pk")[: page.limit + 1])
    more = len(found) > page.limit
    found = found[: page.limit]
    return found, signing.dumps(str(found[-1].pk), salt=_salt(page.name)) if more else None


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
