"""Which entries of the audit log a page shows. A filter looks at entries one by one, at so many a page."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpRequest

from console.paging import PAGE_SIZE, Listed, listed, read_id, read_text
from organizations.models import AuditEntry, Organization

LOOKED_AT = 5_000
# How actions start, as people call them.
GROUPS = {
    "api_key": "Keys",
    "subscription": "Subscriptions",
    "delivery": "Deliveries",
    "replay": "Replays",
    "event_type": "Event types",
    "member": "Members",
    "invitation": "Invitations",
    "export": "Exports",
    "organization": "Organization",
}


@dataclass(frozen=True, kw_only=True)
class AuditFilters:
    """`group` is one of GROUPS or empty; `actor` is a part of a name, in any case."""

    group: str
    actor: str

    @property
    def is_any(self) -> bool:
        return bool(self.group or self.actor)

    @classmethod
    def read(cls, request: HttpRequest) -> "AuditFilters":
        group = read_text(request, "action", length=20)
        return cls(group=group if group in GROUPS else "", actor=read_text(request, "actor"))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry with its changes as short texts."""

    entry: AuditEntry
    changes: list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class AuditPage:
    """`looked_back_to`: the page is not full, because only so much was looked at; `page.older` goes on from there."""

    page: Listed[AuditEntry]
    entries: list[Entry]
    looked_back_to: datetime | None = None


def search_audit_log(organization: Organization, wanted: AuditFilters, request: HttpRequest) -> AuditPage:
    entries = AuditEntry.objects.for_organization(organization.pk)
    if (before := read_id(request, "before")) is not None:
        entries = entries.filter(pk__lt=before)
    floor = None
    if wanted.is_any:
        floor = entries.order_by("-pk").only("pk", "created_at")[LOOKED_AT - 1 : LOOKED_AT].first()
        if floor is not None:
            entries = entries.filter(pk__gte=floor.pk)
    if wanted.group:
        entries = entries.filter(action__startswith=f"{wanted.group}.")
    if wanted.actor:
        entries = entries.filter(actor_label__icontains=wanted.actor)
    rows = list(entries.order_by("-pk")[: PAGE_SIZE + 1])
    if floor is not None and len(rows) <= PAGE_SIZE:
        # As if the floor were the last row of a full page.
        older = request.GET.copy()
        older["before"] = str(floor.pk)
        page = Listed(rows=rows, older=f"?{older.urlencode()}", newest=listed([], request).newest)
        return AuditPage(page=page, entries=list(map(_entry, rows)), looked_back_to=floor.created_at)
    page = listed(rows, request)
    return AuditPage(page=page, entries=list(map(_entry, page.rows)))


def _entry(entry: AuditEntry) -> Entry:
    # Of something new there is no old value, and two are a list of two.
    words = _short if entry.action.endswith((".created", ".issued")) else _change
    return Entry(entry=entry, changes=[(name, words(value)) for name, value in entry.changes.items()])


def _change(value: Any) -> str:
    """`[old, new]` → `old → new`."""
    if isinstance(value, list) and len(value) == 2:
        return f"{_short(value[0])} → {_short(value[1])}"
    return _short(value)


def _short(value: Any) -> str:
    if value in (None, "", []):
        return "–"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 120 else f"{text[:119]}…"
