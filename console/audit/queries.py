"""Which entries of the audit log a page or a file shows.

What an index does not answer is looked at entry by entry, at so many a page.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from uuid import UUID

from django.http import HttpRequest
from django.utils.dateparse import parse_date

from console.audit import wording
from console.audit.targets import links_of
from console.paging import PAGE_SIZE, Listed, listed, read_id, read_text
from core.event_ids import lowest_id
from organizations.models import AuditEntry, Organization, TenantQuerySet

LOOKED_AT = 5_000
# A file looks back further than a page, and ends there or here.
MOST_LOOKED_AT, MOST_EXPORTED = 100_000, 10_000
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
    "portal": "Portal",
    "organization": "Organization",
}
_LAST_DAY = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class AuditFilters:
    """`group` is one of GROUPS or empty; `actor` is a part of a name, in any case; `target` the id of an object.

    The days are of UTC; both are part of the time.
    """

    group: str
    actor: str
    target: str
    kind: str
    first_day: str
    last_day: str

    @property
    def is_any(self) -> bool:
        return bool(self.group or self.actor or self.target or self.first_day or self.last_day)

    @property
    def is_indexed(self) -> bool:
        """Whether every entry that an index leads to is wanted, or there are few of them: those of one object."""
        return bool(self.target) or not (self.group or self.actor)

    @classmethod
    def read(cls, request: HttpRequest) -> "AuditFilters":
        group = read_text(request, "action", length=20)
        return cls(
            group=group if group in GROUPS else "",
            actor=read_text(request, "actor"),
            target=read_text(request, "target", length=50),
            kind=read_text(request, "kind", length=50),
            first_day=_day(request, "from"),
            last_day=_day(request, "to"),
        )

    def select(self, organization: Organization) -> TenantQuerySet[AuditEntry]:
        entries = AuditEntry.objects.for_organization(organization.pk)
        if self.first_day:
            entries = entries.filter(pk__gte=lowest_id(_begin(self.first_day)))
        if self.last_day:
            entries = entries.filter(pk__lt=lowest_id(_begin(self.last_day) + timedelta(days=1)))
        if self.target:
            entries = entries.filter(target_id=self.target)
        if self.kind:
            entries = entries.filter(target_kind=self.kind)
        return entries

    def narrow(self, entries: TenantQuerySet[AuditEntry]) -> TenantQuerySet[AuditEntry]:
        """By what no index knows. A group is a word of the action: `portal` also finds `portal_link.created`."""
        if self.group:
            entries = entries.filter(action__regex=rf"^{self.group}(_link)?\.")
        return entries.filter(actor_label__icontains=self.actor) if self.actor else entries


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry in words; `link` leads to what it is about, if that has a page."""

    entry: AuditEntry
    done: str
    changes: list[tuple[str, str, str | None]]
    link: str | None = None


@dataclass(frozen=True, kw_only=True)
class AuditPage:
    """`looked_back_to`: the page is not full, because only so much was looked at; `page.older` goes on from there."""

    page: Listed[AuditEntry]
    entries: list[Entry]
    looked_back_to: datetime | None = None


def search_audit_log(organization: Organization, wanted: AuditFilters, request: HttpRequest) -> AuditPage:
    entries = wanted.select(organization)
    if (before := read_id(request, "before")) is not None:
        entries = entries.filter(pk__lt=before)
    floor = None
    if not wanted.is_indexed:
        floor = entries.order_by("-pk").only("pk", "created_at")[LOOKED_AT - 1 : LOOKED_AT].first()
        if floor is not None:
            entries = entries.filter(pk__gte=floor.pk)
    rows = list(wanted.narrow(entries).order_by("-pk")[: PAGE_SIZE + 1])
    if floor is not None and len(rows) <= PAGE_SIZE:
        # As if the floor were the last row of a full page.
        older = request.GET.copy()
        older["before"] = str(floor.pk)
        page = Listed(rows=rows, older=f"?{older.urlencode()}", newest=listed([], request).newest)
        return AuditPage(page=page, entries=_told(organization, rows), looked_back_to=floor.created_at)
    page = listed(rows, request)
    return AuditPage(page=page, entries=_told(organization, page.rows))


def walk_audit_log(organization: Organization, wanted: AuditFilters) -> Iterator[list[AuditEntry]]:
    """Newest first, in portions, each by short statements: at most MOST_EXPORTED of the newest MOST_LOOKED_AT."""
    before: UUID | None = None
    left = MOST_EXPORTED
    for _ in range(MOST_LOOKED_AT // LOOKED_AT):
        entries = wanted.select(organization)
        if before is not None:
            entries = entries.filter(pk__lt=before)
        ids = list(entries.order_by("-pk").values_list("pk", flat=True)[:LOOKED_AT])
        if ids:
            among = AuditEntry.objects.for_organization(organization.pk).filter(pk__range=(ids[-1], ids[0]))
            found = wanted.narrow(wanted.select(organization) & among).order_by("-pk")[:left]
            yield list(found)
            left -= len(found)
        if len(ids) < LOOKED_AT or left <= 0:
            return
        before = ids[-1]


def _told(organization: Organization, entries: list[AuditEntry]) -> list[Entry]:
    links = links_of(organization, entries)
    return [
        Entry(entry=each, done=wording.done(each), changes=wording.changes_of(each), link=links.get(each.pk))
        for each in entries
    ]


def _day(request: HttpRequest, name: str) -> str:
    """A day as `2026-11-23`; empty for what is none."""
    text = read_text(request, name, length=10)
    try:
        return text if parse_date(text) and _begin(text) < _LAST_DAY else ""
    except ValueError:
        return ""


def _begin(day: str) -> datetime:
    found = parse_date(day)
    assert found is not None  # noqa: S101 - it was read by _day()
    return datetime.combine(found, time(), tzinfo=UTC)
