"""Who is mailed which notices, and when: what each member chose, or else what the role says."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, time, timedelta, tzinfo
from functools import cache
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery

from notifications.models import DailyMail, NoticeKind, NoticePreference, Timing
from organizations.models import Membership, Organization, Role

# What is chosen for an organization, by its id: all kinds, or those that are to change.
Chosen = Mapping[UUID, Mapping[NoticeKind, Timing]]


def default_timing(role: str) -> Timing:
    """Of a kind about which a member chose nothing."""
    return Timing.AT_ONCE if role == Role.OWNER else Timing.NEVER


def readers_at_once(organization_id: UUID, kind: NoticeKind) -> "QuerySet[User]":
    """Who is mailed a notice of this kind as soon as there is one, and can be."""
    chosen = NoticePreference.objects.for_organization(organization_id).filter(user=OuterRef("user"), kind=kind)
    members = Membership.objects.for_organization(organization_id)
    told = members.annotate(timing=Subquery(chosen.values("timing"))).filter(
        Q(timing=Timing.AT_ONCE) | Q(timing=None, role=Role.OWNER)
    )
    return User.objects.filter(pk__in=told.values("user"), is_active=True).exclude(email="").order_by("pk")


def timings_of(user: User, memberships: Iterable[Membership]) -> dict[UUID, dict[NoticeKind, Timing]]:
    """By organization, of each kind."""
    found = {each.organization_id: dict.fromkeys(NoticeKind, default_timing(each.role)) for each in memberships}
    rows = NoticePreference.objects.filter(user=user, organization__in=found, kind__in=NoticeKind.values)
    for row in rows:
        found[row.organization_id][NoticeKind(row.kind)] = Timing(row.timing)
    return found


@transaction.atomic
def choose(*, user: User, chosen: Chosen, time_zone: str | None, now: datetime) -> dict[str, list[str]]:
    """Keep what differs from what there is; returns that by organization and kind, before and after.

    What is for an organization of which `user` is no member is left out. `time_zone` is that of the daily mails; None
    leaves it as it is.
    """
    daily, _ = DailyMail.objects.get_or_create(user=user)
    # Whoever takes these choices for a mail waits for this row, and so do two forms of one person.
    daily = DailyMail.objects.select_for_update(no_key=True).get(pk=daily.pk)
    memberships = Membership.objects.filter(user=user, organization__in=chosen).select_related("organization")
    own = {each.organization_id: each.organization for each in memberships}
    before = timings_of(user, memberships)
    changes: dict[str, list[str]] = {}
    for organization_id, organization in own.items():
        for kind, timing in chosen[organization_id].items():
            if timing != (old := before[organization_id][kind]):
                _keep(user, organization, kind, timing, now)
                changes[f"{organization.slug} {kind}"] = [old.value, timing.value]
    if time_zone is not None and time_zone != daily.time_zone:
        changes["time_zone"] = [daily.time_zone, time_zone]
        daily.time_zone = time_zone
    is_wanted = NoticePreference.objects.filter(user=user, timing=Timing.DAILY).exists()
    daily.due_at = next_daily(now, daily.time_zone) if is_wanted else None
    daily.save()
    return changes


def next_daily(now: datetime, time_zone: str) -> datetime:
    """The next time that it is NOTICE_DAILY_HOUR in the zone; where a clock skips that hour, the one after it."""
    zone = zone_of(time_zone)
    day = now.astimezone(zone).date()
    while True:
        moment = datetime.combine(day, time(settings.NOTICE_DAILY_HOUR), tzinfo=zone).astimezone(UTC)
        if moment > now:
            return moment
        day += timedelta(days=1)


def zone_of(name: str) -> tzinfo:
    """The zone, or UTC where this system does not know it."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


@cache
def time_zones() -> list[str]:
    """Those that people know themselves by: UTC, and `Europe/Vienna` and the like."""
    places = {name for name in available_timezones() if "/" in name and not name.startswith("Etc/")}
    return ["UTC", *sorted(places)]


def _keep(user: User, organization: Organization, kind: NoticeKind, timing: Timing, now: datetime) -> None:
    """The daily mail begins with what comes from now on."""
    NoticePreference.objects.update_or_create(
        organization=organization, user=user, kind=kind, defaults={"timing": timing, "told_until": now}
    )
