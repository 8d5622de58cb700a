"""Accounts in the admin: superusers only, since no group holds a permission on them."""

from collections.abc import Iterable
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.forms import AccountChangeForm, NewAccountForm
from accounts.notices import Change, tell_owner
from accounts.operations import remove_second_factor
from organizations.audit import actor_of, record
from organizations.models import Membership
from organizations.versioned_admin import VersionedAdmin

# Their pages would show secrets, or change them without an audit entry.
for model in (Authenticator, EmailAddress, UserSession, User, Group):
    admin.site.unregister(model)


class _RecordedAdmin(VersionedAdmin):
    """Leaves an entry in the audit log for what is done on its pages; `target` begins the name of the action."""

    target: str

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        self._record(request, obj, "created")
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        self._record(request, obj, "changed", {"what": message})
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        for each in queryset:
            self._record(request, each, "deleted")
        return super().log_deletions(request, queryset)

    def _record(self, request: HttpRequest, obj: Any, done: str, changes: dict[str, Any] | None = None) -> None:
        """Names of fields, never their values: Django's message of a change holds no more."""
        action = f"{self.target}.{done}"
        record(actor=actor_of(request), action=action, target=obj, organization=None, changes=changes)


@admin.register(Group)
class GroupAdmin(_RecordedAdmin, DjangoGroupAdmin):
    """Django's, in which an old form gives back no right that was taken away."""

    target = "group"


@admin.register(User)
class UserAdmin(_RecordedAdmin, DjangoUserAdmin):  # type: ignore[type-arg]
    target = "account"
    actions = ("remove_second_factor",)
    # They change by themselves, and have pages of their own.
    unversioned = ("last_login", "password")
    add_form = NewAccountForm
    form = AccountChangeForm
    show_facets = admin.ShowFacets.NEVER

    def log_change(self, request: HttpRequest, obj: User, message: Any) -> Any:
        # `message` is Django's: `[{"changed": {"fields": ["password"]}}]`.
        parts = message if isinstance(message, list) else []
        if any("password" in part.get("changed", {}).get("fields", []) for part in parts):
            tell_owner(obj, Change.PASSWORD_SET)
        return super().log_change(request, obj, message)

    def get_deleted_objects(
        self, objs: Iterable[User], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """What to ask about, in two queries: Django would ask each table that knows of people."""
        users = list(objs)
        memberships = Membership.objects.filter(user__in=users).select_related("organization").order_by("organization")
        told: list[Any] = []
        for user in users:
            own = [
                f"{each.get_role_display()} of {each.organization}" for each in memberships if each.user_id == user.pk
            ]
            told += [str(user), [*own, "Sessions, second factor, email addresses, saved views"]]
        return told, {"accounts": len(users), "memberships": len(memberships)}, set(), []

    @admin.action(description="Remove the second factor of the selected people (a lost device)", permissions=["change"])
    def remove_second_factor(self, request: HttpRequest, users: QuerySet[User]) -> None:
        removed = [remove_second_factor(user=user, actor=actor_of(request)) for user in users.order_by("pk")]
        self.message_user(request, f"Removed from: {sum(map(bool, removed))}.", messages.SUCCESS)
