"""Links in mails of notices: to what a member chose, and one that ends this kind of mail without signing in.

The second is in the header that mail programs make their button of (RFC 2369, RFC 8058). It opens nothing, and works
until the member chooses otherwise or SECRET_KEY is another one.
"""

from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User
from django.core import signing
from django.urls import reverse

from notifications.models import NoticeKind, NoticePreference, Timing
from notifications.preferences import choose
from organizations.models import Membership, Organization

_SALT = "notifications.unsubscribing"
DAILY = "daily"


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What a link ends: mails of one kind, or the daily mails (None)."""

    user: User
    organization: Organization
    kind: NoticeKind | None


def preferences_link(organization: Organization) -> str:
    """The page on which its members choose."""
    return f"{settings.PUBLIC_URL}{reverse('account_notices')}?{urlencode({'organization': organization.slug})}"


def ending_path(user: User, organization: Organization, kind: NoticeKind | None) -> str:
    """The page that ends mails of this kind, or daily ones."""
    about = {"user": user.pk, "organization": str(organization.pk), "kind": kind or DAILY}
    return reverse("account_end_notices", args=[signing.dumps(about, salt=_SALT)])


def headers_of(user: User, organization: Organization, kind: NoticeKind | None) -> dict[str, str]:
    """Of a mail. A button that needs no page takes https."""
    headers = {"List-Unsubscribe": f"<{settings.PUBLIC_URL}{ending_path(user, organization, kind)}>"}
    if settings.PUBLIC_URL.startswith("https:"):
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return headers


def read_ending(token: str) -> Ending | None:
    """None for what is no such link, or about somebody who is no member any more."""
    try:
        about = signing.loads(token, salt=_SALT)
        kind = None if about["kind"] == DAILY else NoticeKind(about["kind"])
        user_id, organization_id = int(about["user"]), UUID(about["organization"])
    except (signing.BadSignature, ValueError):
        return None
    members = Membership.objects.for_organization(organization_id).select_related("user", "organization")
    membership = members.filter(user=user_id).first()
    if membership is None:
        return None
    return Ending(user=membership.user, organization=membership.organization, kind=kind)


def end_mails(ending: Ending, *, now: datetime) -> dict[str, list[str]]:
    """Mail this no more; returns what changed."""
    if ending.kind:
        kinds = [ending.kind]
    else:
        rows = NoticePreference.objects.for_organization(ending.organization.pk)
        daily = rows.filter(user=ending.user, timing=Timing.DAILY)
        kinds = [NoticeKind(kind) for kind in daily.values_list("kind", flat=True)]
    chosen = {ending.organization.pk: dict.fromkeys(kinds, Timing.NEVER)}
    return choose(user=ending.user, chosen=chosen, time_zone=None, now=now)
