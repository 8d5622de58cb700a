"""What people choose to be mailed: at once, daily or not at all, on a page and by a link from a mail."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.mail import EmailMessage
from django.test import Client
from uuid_utils.compat import uuid7

from ingestion.models import Event, IdempotencyKey
from lifecycle.erasing.organization import models_of_organizations
from notifications.daily_mails import MOST_LINES, request_daily_mails
from notifications.mails import request_mail, send_mails
from notifications.models import DailyMail, NoticeKind, NoticePreference, Timing
from notifications.notices import announce, mail_notice
from notifications.preferences import choose, next_daily, time_zones
from organizations.models import AuditEntry, Membership, Organization, Role
from organizations.operations import suspend_organization
from organizations.operations.organizations import resume_organization
from tests.factories import TESTER, event_id_at, make_organization, make_webhook
from tests.support.people.accounts import make_user
from tests.support.people.console_data import browser_of

NOW = datetime(2026, 11, 24, 12, 34, 56, tzinfo=UTC)
TOMORROW = datetime(2026, 11, 25, 8, tzinfo=UTC)
PAGE = "/account/notices/"
DEAD, DISABLED, LIMIT = NoticeKind.DEAD_LETTER, NoticeKind.SUBSCRIPTION_DISABLED, NoticeKind.LIMIT_REACHED


@pytest.fixture
def organization(db: None, settings: Any) -> Organization:
    settings.PUBLIC_URL = "https://events.example.com"
    settings.NOTICE_DAILY_HOUR = 8
    return make_organization(name="Harbour Books", slug="harbour-books")


def member(organization: Organization, username: str = "casey", role: Role = Role.MEMBER) -> User:
    user = make_user(username)
    Membership.objects.create(organization=organization, user=user, role=role)
    return user


def prefer(user: User, organization: Organization, *kinds: NoticeKind, timing: Timing = Timing.DAILY) -> None:
    choose(user=user, chosen={organization.pk: dict.fromkeys(kinds, timing)}, time_zone=None, now=NOW)


def tell(organization: Organization, at: datetime, kind: NoticeKind = DEAD, **data: Any) -> Event:
    """A notice, as it was stored then."""
    data = {"delivery_id": str(uuid7()), "event_type": "order.paid", "last_error": "timeout", **data}
    announce(organization_id=organization.pk, kind=kind, subject=str(uuid7()), data=data, now=at)
    event = Event.objects.for_organization(organization.pk).latest("id")
    moved = event_id_at(at)
    IdempotencyKey.objects.filter(event_id=event.pk).delete()
    Event.objects.filter(pk=event.pk).update(id=moved, received_at=at)
    return Event.objects.get(pk=moved)


def at_once(event: Event) -> list[str]:
    """To whom it is mailed."""
    mail_notice(event_id=event.pk)
    return sent()


def sent() -> list[str]:
    from django.core import mail  # noqa: PLC0415 - its outbox is another one in each test

    before = len(mail.outbox)
    send_mails()
    return [address for message in mail.outbox[before:] for address in message.to]


# --- At once ---------------------------------------------------------------------------------------------------------


def test_it_works(organization: Organization, mailoutbox: list[EmailMessage]) -> None:
    owner, casey = member(organization, "olive", Role.OWNER), member(organization)
    client = browser_of(casey)
    page = client.get(PAGE).content.decode()
    assert "Harbour Books" in page
    assert page.count('<option value="never" selected>') == len(NoticeKind)
    answer = client.post(PAGE, {"harbour-books.dead_letter": "at_once", "time_zone": "Europe/Vienna"})
    assert answer.status_code == 302
    prefer(owner, organization, DEAD, timing=Timing.NEVER)
    assert at_once(tell(organization, NOW)) == ["casey@example.com"]
    # Of other kinds it is as it was.
    assert at_once(tell(organization, NOW, DISABLED)) == ["olive@example.com"]
    mail = mailoutbox[0]
    assert "Why did I get this?" in mail.body
    assert "https://events.example.com/account/notices/?organization=harbour-books" in mail.body
    entry = AuditEntry.objects.get(action="account.notices_changed")
    assert entry.changes["harbour-books delivery.dead_letter"] == ["never", "at_once"]
    assert DailyMail.objects.get(user=casey).time_zone == "Europe/Vienna"


def test_nobody_chooses_for_an_organization_of_others(organization: Organization) -> None:
    client = browser_of(member(organization))
    other = make_organization(name="Elsewhere", slug="other")
    assert "Elsewhere" not in client.get(f"{PAGE}?organization=other").content.decode()
    client.post(f"{PAGE}?organization=other", {"other.dead_letter": "at_once", "time_zone": "UTC"})
    assert not NoticePreference.objects.for_organization(other.pk).exists()


def test_what_is_wrong_is_said_and_nothing_saved(organization: Organization) -> None:
    client = browser_of(member(organization))
    answer = client.post(PAGE, {"harbour-books.dead_letter": "sometimes", "time_zone": "Atlantis/Poseidonis"})
    assert answer.status_code == 422
    assert answer.content.decode().count('class="errorlist"') == 2
    assert not NoticePreference.objects.exists()


def test_whoever_left_or_changed_their_mind_meanwhile_is_not_mailed(organization: Organization) -> None:
    first, second = member(organization, "a", Role.OWNER), member(organization, "b", Role.OWNER)
    member(organization, "c", Role.OWNER)
    mail_notice(event_id=tell(organization, NOW).pk)
    Membership.objects.filter(user=first).delete()
    prefer(second, organization, DEAD, timing=Timing.NEVER)
    assert sent() == ["c@example.com"]


def test_many_organizations_are_listed_in_pages(organization: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.notice_choices.views.MOST_LISTED", 1)
    user = member(organization)
    Membership.objects.create(organization=make_organization(name="Zoo", slug="zoo"), user=user, role=Role.VIEWER)
    client = browser_of(user)
    page = client.get(PAGE).content.decode()
    assert "?after=harbour-books" in page
    assert "Zoo" in client.get(f"{PAGE}?after=harbour-books").content.decode()
    assert "Zoo" in client.get(f"{PAGE}?organization=zoo").content.decode()


def test_people_without_an_organization_or_an_address_are_told(db: None) -> None:
    user = make_user()
    User.objects.filter(pk=user.pk).update(email="")
    page = browser_of(User.objects.get(pk=user.pk)).get(PAGE).content.decode()
    assert "a member of no organization" in page
    assert "has no email address" in page


# --- By a link from a mail -------------------------------------------------------------------------------------------


def link_of(mail: EmailMessage) -> str:
    return str(mail.extra_headers["List-Unsubscribe"]).strip("<>").removeprefix("https://events.example.com")


def test_a_mail_is_ended_by_its_link_without_signing_in(
    organization: Organization, mailoutbox: list[EmailMessage]
) -> None:
    member(organization, "olive", Role.OWNER)
    at_once(tell(organization, NOW))
    (mail,) = mailoutbox
    assert mail.extra_headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    stranger = Client(enforce_csrf_checks=True)
    # Whoever only looks changes nothing.
    assert "End these mails?" in stranger.get(link_of(mail)).content.decode()
    assert at_once(tell(organization, NOW + timedelta(hours=1))) == ["olive@example.com"]
    for _ in range(2):
        assert stranger.post(link_of(mail), {"List-Unsubscribe": "One-Click"}).status_code == 200
    assert at_once(tell(organization, NOW + timedelta(hours=2))) == []
    assert at_once(tell(organization, NOW + timedelta(hours=2), DISABLED)) == ["olive@example.com"]
    assert AuditEntry.objects.get(action="account.notices_changed").changes["by"] == "link in a mail"


def test_a_link_that_was_changed_or_is_of_a_former_member_ends_nothing(
    organization: Organization, mailoutbox: list[EmailMessage]
) -> None:
    owner = member(organization, "olive", Role.OWNER)
    at_once(tell(organization, NOW))
    link = link_of(mailoutbox[0])
    assert Client().post(f"{link[:-2]}x/").status_code == 404
    Membership.objects.filter(user=owner).delete()
    assert Client().post(link).status_code == 404
    assert not NoticePreference.objects.exists()


def test_mails_that_protect_an_account_cannot_be_ended(
    organization: Organization, mailoutbox: list[EmailMessage]
) -> None:
    user = member(organization)
    prefer(user, organization, *NoticeKind, timing=Timing.NEVER)
    request_mail("password_reset", {"email": user.email})
    assert sent() == [user.email]
    assert "List-Unsubscribe" not in mailoutbox[0].extra_headers


# --- Once a day ------------------------------------------------------------------------------------------------------


def test_a_day_is_told_in_one_mail_and_once(organization: Organization, mailoutbox: list[EmailMessage]) -> None:
    user = member(organization)
    choose(user=user, chosen={organization.pk: {DEAD: Timing.DAILY, LIMIT: Timing.DAILY}}, time_zone="Europe/Vienna",
           now=NOW)  # fmt: skip
    shop, till = make_webhook(organization, name="Shop"), make_webhook(organization, name="Till")
    tell(organization, NOW - timedelta(hours=1), subscription_id=str(shop.pk))  # before it was chosen
    tell(organization, NOW + timedelta(hours=1), subscription_id=str(shop.pk))
    tell(organization, NOW + timedelta(hours=2), subscription_id=str(shop.pk), error_detail="No answer within 15 s.")
    one = tell(organization, NOW + timedelta(hours=3), subscription_id=str(till.pk))
    tell(organization, NOW + timedelta(hours=4), LIMIT, events_per_minute=100, refused_requests=7)
    tell(organization, NOW + timedelta(hours=4), DISABLED, subscription_id=str(till.pk))  # not chosen
    assert request_daily_mails(now=NOW + timedelta(hours=5)) == 0
    due = TOMORROW - timedelta(hours=1)  # 8:00 in Vienna
    assert request_daily_mails(now=due) == 1
    assert request_daily_mails(now=due) == 0
    assert sent() == [user.email]
    (mail,) = mailoutbox
    home = f"https://events.example.com/console/o/harbour-books/subscriptions/{shop.pk}/"
    assert mail.subject == "Notices of the day: Harbour Books"
    for told in ("times of Europe/Vienna", "- Shop: 2 times, since 24 Nov 14:34, last 24 Nov 15:34",
                 f"  No answer within 15 s.\n  {home}dead-letters/\n", "- Till: 1 time, 24 Nov 16:34",
                 f"subscriptions/{till.pk}/deliveries/", "7 requests over 100 events a minute", "/usage/",
                 "?organization=harbour-books"):  # fmt: skip
        assert told in mail.body, told
    assert "disabled" not in mail.body
    assert str(one.pk) not in mail.body
    assert Client().post(link_of(mail)).status_code == 200
    assert not NoticePreference.objects.filter(timing=Timing.DAILY).exists()
    assert DailyMail.objects.get().due_at is None


def test_a_day_without_notices_is_not_told(organization: Organization) -> None:
    prefer(member(organization), organization, DEAD)
    assert request_daily_mails(now=TOMORROW) == 1
    assert sent() == []
    assert DailyMail.objects.get().due_at == TOMORROW + timedelta(days=1)


def test_what_was_asked_for_and_not_sent_is_not_lost(organization: Organization, monkeypatch: Any) -> None:
    user = member(organization)
    prefer(user, organization, DEAD)
    tell(organization, NOW + timedelta(hours=1))
    with monkeypatch.context() as patched:
        patched.setattr("notifications.daily_mails.next_daily", None)
        with pytest.raises(TypeError):
            request_daily_mails(now=TOMORROW)  # ends in the middle
    assert sent() == []
    # Days later: one mail tells all of it.
    tell(organization, TOMORROW + timedelta(days=1))
    assert request_daily_mails(now=TOMORROW + timedelta(days=2)) == 1
    assert sent() == [user.email]


def test_a_mail_of_the_day_is_bounded(
    organization: Organization, mailoutbox: list[EmailMessage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifications.daily_mails.MOST_LOOKED_AT", MOST_LINES + 3)
    prefer(member(organization), organization, DEAD)
    for number in range(MOST_LINES + 5):
        tell(organization, NOW + timedelta(minutes=number), subscription_id=str(uuid7()))
    request_daily_mails(now=TOMORROW)
    send_mails()
    (mail,) = mailoutbox
    assert mail.body.count("\n- ") == MOST_LINES + 1
    assert "- and 3 more: https://events.example.com/console/o/harbour-books/issues/" in mail.body
    assert f"Only the newest {MOST_LINES + 3} of these" in mail.body


def test_a_suspended_organization_waits_until_it_is_resumed(organization: Organization) -> None:
    user = member(organization)
    prefer(user, organization, DEAD)
    tell(organization, NOW + timedelta(hours=1))
    suspend_organization(organization=organization, reason="Unpaid", actor=TESTER)
    request_daily_mails(now=TOMORROW)
    assert sent() == []
    organization.refresh_from_db()
    resume_organization(organization=organization, actor=TESTER)
    request_daily_mails(now=TOMORROW + timedelta(days=1))
    assert sent() == [user.email]


def test_whoever_has_left_is_told_nothing_of_the_day(organization: Organization) -> None:
    user = member(organization)
    prefer(user, organization, DEAD)
    tell(organization, NOW + timedelta(hours=1))
    request_daily_mails(now=TOMORROW)
    Membership.objects.filter(user=user).delete()
    assert sent() == []


@pytest.mark.parametrize(
    ("now", "zone", "expected"),
    [
        ("2026-11-24T06:59:59Z", "Europe/Vienna", "2026-11-24T07:00:00Z"),
        ("2026-11-24T07:00:00Z", "Europe/Vienna", "2026-11-25T07:00:00Z"),
        # The other side of the date line, and summer time that begins in between.
        ("2026-11-24T18:30:00Z", "Pacific/Auckland", "2026-11-24T19:00:00Z"),
        ("2026-03-28T08:00:00Z", "Europe/Vienna", "2026-03-29T06:00:00Z"),
        ("2026-11-24T07:00:00Z", "Atlantis/Poseidonis", "2026-11-24T08:00:00Z"),
        ("2026-11-24T07:00:00Z", "../etc/passwd", "2026-11-24T08:00:00Z"),
    ],
)
def test_the_hour_is_that_of_the_person(settings: Any, now: str, zone: str, expected: str) -> None:
    settings.NOTICE_DAILY_HOUR = 8
    assert next_daily(datetime.fromisoformat(now), zone) == datetime.fromisoformat(expected)


def test_an_hour_that_a_clock_skips_comes_once(settings: Any) -> None:
    settings.NOTICE_DAILY_HOUR = 2
    before = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    first = next_daily(before, "Europe/Vienna")
    assert first.date() == before.date()
    assert next_daily(first, "Europe/Vienna").date() == before.date() + timedelta(days=1)


def test_choices_are_part_of_the_organization(organization: Organization) -> None:
    """So they are exported and erased with it."""
    assert NoticePreference in models_of_organizations()
    assert {"UTC", "Europe/Vienna"} <= set(time_zones())
