"""The daily mail: what a member wants to hear of once a day, by organization, kind and subscription.

A mail is asked for in the transaction that moves on when the next one is due and what it begins with. So a day is told
once, also after a crash or a long silence; the mail itself is written when it is sent (notifications.mails).
"""

from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

import msgspec
from django.contrib.auth.models import User
from django.core.mail import EmailMessage
from django.db import transaction
from django.template.loader import render_to_string
from django.utils import timezone

from core.event_ids import lowest_id
from delivery.models import Subscription
from delivery.operations.replays import SETTLED_AFTER
from ingestion.formats.decoding import PLATFORM_SOURCE
from ingestion.models import Event
from notifications.mails import request_mails
from notifications.models import DailyMail, NoticeKind, NoticePreference, Timing
from notifications.notice_mails import address, links_of, one_line
from notifications.preferences import next_daily, zone_of
from notifications.unsubscribing import headers_of, preferences_link
from organizations.models import Membership, Organization

# Of a run, which holds a worker; the next one goes on.
MOST_PEOPLE = 1_000
# Of a kind in a mail: notices that are looked at, newest first, and lines.
MOST_LOOKED_AT, MOST_LINES = 5_000, 25
TITLES = {
    NoticeKind.DEAD_LETTER: "Events that could not be delivered",
    NoticeKind.SUBSCRIPTION_DISABLED: "Subscriptions that were disabled",
    NoticeKind.CERTIFICATE_ENDS: "Client certificates that end soon",
    NoticeKind.LIMIT_REACHED: "The event limit was reached",
}


@dataclass(kw_only=True)
class Line:
    """Notices of a kind about one thing: how many, since when, and the newest one."""

    what: str
    newest: Event
    first: datetime
    last: datetime
    why: str
    link: str = ""
    count: int = 0


@dataclass(frozen=True, kw_only=True)
class Section:
    """`more`: subscriptions that have no line. `is_cut`: there were more notices than are looked at."""

    title: str
    lines: list[Line]
    more: int
    is_cut: bool


def request_daily_mails(*, now: datetime) -> int:
    """Have those written that are due; returns of how many people."""
    people = 0
    while people < MOST_PEOPLE and _request_of_one(now):
        people += 1
    return people


@transaction.atomic
def _request_of_one(now: datetime) -> bool:
    due = DailyMail.objects.select_for_update(skip_locked=True, no_key=True).filter(due_at__lte=now)
    daily = due.order_by("due_at").first()
    if daily is None:
        return False
    # What is committed late has an earlier id.
    until = now - SETTLED_AFTER
    wanted = NoticePreference.objects.filter(user=daily.user_id, timing=Timing.DAILY)
    # A suspended organization's wait, and are in the first mail after it is resumed.
    told = list(wanted.filter(organization__suspended_at=None, told_until__lt=until).order_by("organization", "pk"))
    request_mails(
        "daily_notices",
        [
            {
                "user_id": daily.user_id,
                "organization_id": str(organization_id),
                "since": {row.kind: row.told_until.isoformat() for row in rows},
                "until": until.isoformat(),
            }
            for organization_id, rows in groupby(told, key=lambda row: row.organization_id)
        ],
    )
    NoticePreference.objects.filter(pk__in=[row.pk for row in told]).update(told_until=until)
    daily.due_at = next_daily(now, daily.time_zone) if wanted.exists() else None
    daily.save(update_fields=["due_at"])
    return True


def compose_daily(about: dict[str, Any]) -> list[EmailMessage]:
    """None when there is nothing to tell, or nobody any more who would be told."""
    members = Membership.objects.for_organization(UUID(about["organization_id"]))
    active = members.filter(user=about["user_id"], user__is_active=True).exclude(user__email="")
    membership = active.select_related("user", "organization").first()
    if membership is None:
        return []
    user, organization = membership.user, membership.organization
    until = datetime.fromisoformat(about["until"])
    since = {NoticeKind(kind): datetime.fromisoformat(moment) for kind, moment in about["since"].items()}
    sections = [
        section
        for kind in NoticeKind
        if kind in since and (section := _section(organization, kind, since[kind], until)).lines
    ]
    if not sections:
        return []
    return [_message(user, organization, sections, begin=min(since.values()), end=until)]


def _message(
    user: User, organization: Organization, sections: list[Section], *, begin: datetime, end: datetime
) -> EmailMessage:
    daily = DailyMail.objects.filter(pk=user.pk).first()
    zone_name = daily.time_zone if daily else "UTC"
    name = one_line(organization.name)
    with timezone.override(zone_of(zone_name)):
        context = {
            "name": name,
            "sections": sections,
            "begin": begin,
            "end": end,
            "zone": zone_name,
            "most": MOST_LOOKED_AT,
            "all_link": address("console:issues", organization.slug),
            "preferences": preferences_link(organization),
        }
        body = render_to_string("delivery/daily_notices.txt", context)
    return EmailMessage(
        subject=f"Notices of the day: {name}", body=body, to=[user.email], headers=headers_of(user, organization, None)
    )


def _section(organization: Organization, kind: NoticeKind, since: datetime, until: datetime) -> Section:
    notices = _notices(organization, kind, since, until)
    lines: dict[str, Line] = {}
    for event in notices:
        data = msgspec.json.decode(event.data)
        moment = event.time or event.received_at
        about = str(data.get("subscription_id", ""))
        if about not in lines:
            lines[about] = Line(what=about, newest=event, first=moment, last=moment, why=_why(kind, data))
        line = lines[about]
        line.count, line.first = line.count + 1, min(line.first, moment)
    shown = list(lines.values())[:MOST_LINES]
    _name_them(organization, shown)
    return Section(title=TITLES[kind], lines=shown, more=len(lines) - len(shown), is_cut=len(notices) == MOST_LOOKED_AT)


def _notices(organization: Organization, kind: NoticeKind, since: datetime, until: datetime) -> list[Event]:
    """Newest first, by the index of types."""
    events = Event.objects.for_organization(organization.pk).filter(type=kind.value, source=PLATFORM_SOURCE)
    window = events.filter(pk__gte=lowest_id(since), pk__lt=lowest_id(until)).select_related("organization")
    return list(window.order_by("-pk")[:MOST_LOOKED_AT])


def _why(kind: NoticeKind, data: dict[str, Any]) -> str:
    """Of the newest one, on one line."""
    if kind is NoticeKind.CERTIFICATE_ENDS:
        return f"It ends at {data.get('expires_at', '')}."
    if kind is NoticeKind.LIMIT_REACHED:
        return f"{data.get('refused_requests', 0)} requests over {data.get('events_per_minute', 0)} events a minute."
    return one_line(str(data.get("error_detail") or data.get("last_error") or data.get("reason") or ""))


def _name_them(organization: Organization, lines: list[Line]) -> None:
    """With the subscription's name and the page of exactly that; one query."""
    ids = [found for line in lines if (found := _id(line.what))]
    rows = Subscription.objects.for_organization(organization.pk).not_deleted().light().in_bulk(ids)
    for line in lines:
        subscription = rows.get(found) if (found := _id(line.what)) else None
        links = links_of(line.newest, msgspec.json.decode(line.newest.data), subscription)
        line.link = links["link_of_all"] if line.count > 1 and "link_of_all" in links else links["link"]
        if subscription:
            line.what = one_line(subscription.label)
        elif line.what:
            line.what = f"{line.what} (deleted)"


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
