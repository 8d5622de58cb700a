"""The page on which people choose what they are mailed, and the one that ends mails by a link from them."""

from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from accounts.audit import record_account
from accounts.notice_choices.forms import NoticesForm
from notifications.models import DailyMail, NoticeKind
from notifications.preferences import choose, timings_of
from notifications.unsubscribing import Ending, end_mails, read_ending
from organizations.models import Membership

# Organizations on a page.
MOST_LISTED = 25
_METHODS = require_http_methods(["GET", "HEAD", "POST"])


@_METHODS
@login_required
def notices(request: HttpRequest) -> HttpResponse:
    """`?organization=` is a slug, as mails link to; `?after=` the last one of the page before."""
    user = cast(User, request.user)
    memberships, more_after = _listed(request, user)
    daily = DailyMail.objects.filter(user=user).first()
    form = NoticesForm(
        request.POST or None,
        memberships=memberships,
        timings=timings_of(user, memberships),
        time_zone=daily.time_zone if daily else None,
    )
    if form.is_valid():
        chosen, time_zone = form.chosen(), form.cleaned_data["time_zone"]
        if changes := choose(user=user, chosen=chosen, time_zone=time_zone, now=timezone.now()):
            record_account(request, user, "notices_changed", changes)
        messages.success(request, "Saved.")
        return redirect(request.get_full_path())
    context = {"form": form, "more_after": more_after, "is_narrowed": "organization" in request.GET}
    return render(request, "account/notices.html", context, status=422 if form.is_bound else 200)


# Mail programs send the form for their own button, without a cookie. The link itself is what counts.
@csrf_exempt
@_METHODS
def end_notices(request: HttpRequest, token: str) -> HttpResponse:
    """Asks first: programs that look at mails follow links."""
    ending = read_ending(token)
    if ending is None:
        return render(request, "account/end_notices.html", {}, status=404)
    if request.method == "POST":
        if changes := end_mails(ending, now=timezone.now()):
            record_account(request, ending.user, "notices_changed", {"by": "link in a mail", **changes})
        return render(request, "account/end_notices.html", {**_words(ending), "is_done": True})
    return render(request, "account/end_notices.html", _words(ending))


def _words(ending: Ending) -> dict[str, Any]:
    return {"organization": ending.organization, "kind": ending.kind and NoticeKind(ending.kind).label}


def _listed(request: HttpRequest, user: User) -> tuple[list[Membership], str]:
    """The memberships of the page, and where the next one begins, or nothing."""
    own = Membership.objects.filter(user=user).select_related("organization").order_by("organization__slug")
    wanted = own.filter(organization__slug=_text(request, "organization")).first()
    if wanted:
        return [wanted], ""
    rows = list(own.filter(organization__slug__gt=_text(request, "after"))[: MOST_LISTED + 1])
    listed = rows[:MOST_LISTED]
    return listed, listed[-1].organization.slug if len(rows) > MOST_LISTED else ""


def _text(request: HttpRequest, name: str) -> str:
    return request.GET.get(name, "").replace("\x00", "")
