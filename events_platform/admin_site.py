"""The admin site of the platform: Django's own, under the platform's name and look."""

from typing import Any, cast

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver
from django.utils import timezone


class AdminSite(admin.AdminSite):
    site_header = "Events Platform"
    site_title = "Events Platform"
    index_title = "Administration"
    site_url = "/console/"
    empty_value_display = "–"
    # The sidebar would list all models on every page; the front page does, and it is one click away.
    enable_nav_sidebar = False

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Without the way to an object's page on the site: no model has one, and it would be a fault for any id."""
        return [each for each in super().get_urls() if getattr(each, "name", None) != "view_on_site"]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """First what needs attention, then everything else."""
        from django.contrib.auth.models import User  # noqa: PLC0415 - models load after the sites

        from console.access import may_see_health  # noqa: PLC0415 - likewise
        from installation.attention import items_for  # noqa: PLC0415 - likewise

        attention = items_for(request, now=timezone.now())
        shown = {"attention": attention, "may_see_health": may_see_health(cast(User, request.user))}
        return super().index(request, {**(extra_context or {}), **shown})

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """With the console's form, so that names, addresses and bounds are the same."""
        from accounts.forms import AdminSignInForm  # noqa: PLC0415 - models load after the sites

        self.login_form = AdminSignInForm
        return super().login(request, extra_context)

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """One page for everybody, which leaves an audit entry."""
        return redirect("account_change_password")
