"""The issues of an organization: failures by endpoint and error, with notes, and muted for a while."""

from datetime import datetime, timedelta
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone

from console.access import Action, OrganizationContext
from console.pages import WRITE, organization_page
from console.paging import read_text
from console.rendering import render_page
from delivery.issues.models import MAX_NOTE
from delivery.issues.operations import annotate_issue
from delivery.models import Issue, SubscriptionStatus
from organizations.audit import actor_of

# There are as many as endpoints times errors; more of them are no list that anybody works through.
LISTED = 100
MUTES = {
    "1h": ("for an hour", timedelta(hours=1)),
    "24h": ("for a day", timedelta(days=1)),
    "7d": ("for a week", timedelta(days=7)),
    "30d": ("for 30 days", timedelta(days=30)),
}
_STATES = {
    "open": "Open",
    "muted": "Muted",
    "resolved": "Resolved",
}


@organization_page(Action.SEE_SUBSCRIPTIONS)
def issues(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """`?state=open|muted|resolved`, those that failed last first."""
    now = timezone.now()
    state = read_text(request, "state", length=10)
    state = state if state in _STATES else "open"
    own = Issue.objects.for_organization(place.organization.pk).exclude(subscription__status=SubscriptionStatus.DELETED)
    chosen = {"open": own.open(now), "muted": own.muted(now), "resolved": own.resolved()}[state]
    rows = list(chosen.select_related("subscription").order_by("-last_seen_at", "pk")[: LISTED + 1])
    is_muted = Q(resolved_at=None, muted_until__gt=now)
    counts = own.aggregate(
        muted=Count("pk", filter=is_muted),
        resolved=Count("pk", filter=Q(resolved_at__isnull=False)),
        all=Count("pk"),
    )
    counts["open"] = counts["all"] - counts["muted"] - counts["resolved"]
    context = {
        "rows": rows[:LISTED],
        "has_more": len(rows) > LISTED,
        "state": state,
        "states": [(name, label, counts[name]) for name, label in _STATES.items()],
        "total": counts["all"],
        "mutes": [(name, words) for name, (words, _) in MUTES.items()],
        "max_note": MAX_NOTE,
    }
    return render_page(request, "console/issues/issues.html", context, place=place, section="issues")


@organization_page(Action.MANAGE_SUBSCRIPTIONS, methods=WRITE)
def annotate(request: HttpRequest, place: OrganizationContext, issue_id: UUID) -> HttpResponse:
    """Its note, and for how long it is muted: `mute` is one of MUTES, `end`, or empty to leave that as it is."""
    issue = get_object_or_404(Issue.objects.for_organization(place.organization.pk), pk=issue_id)
    note = " ".join(request.POST.get("note", "").replace("\x00", "").split())[:MAX_NOTE]
    muted_until = _muted_until(issue, request.POST.get("mute", ""))
    annotate_issue(
        issue=issue, organization=place.organization, note=note, muted_until=muted_until, actor=actor_of(request)
    )
    messages.success(request, "The issue was saved.")
    state = "muted" if muted_until and not issue.resolved_at else "resolved" if issue.resolved_at else "open"
    return redirect(f"{reverse('console:issues', args=[place.organization.slug])}?state={state}")


def _muted_until(issue: Issue, chosen: str) -> datetime | None:
    if chosen == "end":
        return None
    return timezone.now() + MUTES[chosen][1] if chosen in MUTES else issue.muted_until
