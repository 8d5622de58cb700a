"""Where an organization is told of dead letters and the like, beside events and mails."""

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from console.access import Action, OrganizationContext
from console.forms import show_problem
from console.pages import READ, WRITE, organization_page
from console.rendering import render_page
from core.problems import Problem
from notifications.models import SlackChannel
from notifications.slack import host_of, set_slack_channel
from organizations.audit import actor_of


class SlackForm(forms.Form):
    url = forms.CharField(
        required=False,
        max_length=500,
        label="Slack webhook",
        help_text="The address of an incoming webhook, from Slack or anything that takes the same. It is a secret, so"
        " it is not shown again. Save it empty to end this.",
        widget=forms.URLInput(attrs={"placeholder": "https://hooks.slack.com/services/…", "autocomplete": "off"}),
    )


@organization_page(Action.MANAGE_ORGANIZATION, methods=READ + WRITE)
def notices(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """Mails go to its owners; a Slack channel is set here."""
    form = SlackForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        url = form.cleaned_data["url"]
        try:
            set_slack_channel(organization=place.organization, url=url, actor=actor_of(request))
        except Problem as problem:
            show_problem(form, problem)
        else:
            messages.success(
                request, "Saved. A first message is on its way." if url else "No channel is told any more."
            )
            return redirect("console:notices", place.organization.slug)
    channel = SlackChannel.objects.for_organization(place.organization.pk).first()
    context = {"form": form, "channel": channel, "host": host_of(channel) if channel else ""}
    return render_page(request, "console/notices/notices.html", context, place=place, section="notices")
