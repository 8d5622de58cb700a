"""Accounts in the admin: superusers only, since no group holds a permission on them."""

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.operations import remove_second_factor
from organizations.admin import actor_of

# Their pages would show secrets, or change them without an audit entry.
for model in (Authenticator, EmailAddress, UserSession, User):
    admin.site.unregister(model)


@admin.register(User)
class UserAdmin(DjangoUserAdmin):  # type: ignore[type-arg]
    actions = ("remove_second_factor",)
    show_facets = admin.ShowFacets.NEVER

    @admin.action(description="Remove the second factor of the selected people (a lost device)", permissions=["change"])
    def remove_second_factor(self, request: HttpRequest, users: QuerySet[User]) -> None:
        removed = [remove_second_factor(user=user, actor=actor_of(request)) for user in users.order_by("pk")]
        self.message_user(request, f"Removed from: {sum(map(bool, removed))}.", messages.SUCCESS)
