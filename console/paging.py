"""Lists by keyset: a page of the rows below a position, and the position to go on from."""

from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from django.db.models import BigAutoField, Model, QuerySet
from django.http import HttpRequest

PAGE_SIZE = 50
M = TypeVar("M", bound=Model)


@dataclass(frozen=True, kw_only=True)
class Listed(Generic[M]):
    """At most a page of rows, newest first; `older` is the query of the next page, or None at the end."""

    rows: list[M]
    older: str | None = None
    newest: str | None = None


def newest_page(rows: "QuerySet[M]", request: HttpRequest, *, size: int = PAGE_SIZE) -> Listed[M]:
    """The page below `?before=<id>`, a UUID or a number; other parameters stay. What is no id is the newest page."""
    given = request.GET.get("before", "")
    before = int(given) if given.isascii() and given.isdigit() and len(given) < 18 else read_id(request, "before")
    if before is not None and isinstance(before, int) == isinstance(rows.model._meta.pk, BigAutoField):
        rows = rows.filter(pk__lt=before)
    found = list(rows.order_by("-pk")[: size + 1])
    return listed(found, request, size=size)


def listed(found: list[M], request: HttpRequest, *, size: int = PAGE_SIZE) -> Listed[M]:
    """A page of rows that were read already, with one more than fits when there are more."""
    older = _query(request, str(found[size - 1].pk)) if len(found) > size else None
    return Listed(rows=found[:size], older=older, newest=_query(request) if request.GET.get("before") else None)


def read_id(request: HttpRequest, name: str) -> UUID | None:
    """An id of the query; None for what is none."""
    try:
        return UUID(request.GET.get(name, ""))
    except ValueError:
        return None


def read_text(request: HttpRequest, name: str, *, length: int = 200) -> str:
    """A word of the query, without what PostgreSQL cannot hold."""
    text = request.GET.get(name, "").replace("\x00", "").strip()[:length]
    return text.encode("utf-8", "ignore").decode()


def _query(request: HttpRequest, before: str | None = None) -> str:
    query = request.GET.copy()
    query.pop("before", None)
    if before:
        query["before"] = before
    return f"?{query.urlencode()}"
