"""Who may see and do what in the console: the one place that decides.

Every page belongs to an organization, named by the slug in its URL. A view never looks an organization up by itself:

    @organization_page(Action.MANAGE_KEYS)                 # console.pages: signs in, enters, requires
    def keys(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
        rows = ApiKey.objects.for_organization(place.organization.pk)
        may_see_audit = place.may(Action.SEE_AUDIT)        # to show or hide a link

Outside of a page: `organization_for(user, slug)` is the organization or a 404, and
`require(user, organization, action)` passes or is a 403. Templates get the same answers as `may.manage_keys` and so
on (console.rendering).

| who | sees | does |
|---|---|---|
| viewer | everything but keys and the audit log | keeps views of their own |
| member | also keys | sends, retries, replays, cancels, exports, manages subscriptions and event types |
| admin | also the audit log | also manages keys and members |
| owner | the same | also manages the organization and its owners |
| staff | all of every organization but the data of events | nothing; as `operator` what an admin does, but send |
| superuser | everything of every organization | everything |
| stranger | nothing: 404 for every organization, as if there were none | |

Staff with the permission VIEW_PAYLOAD sees the data of events, too; the platform's groups hold it.

In a suspended organization nobody does anything: its pages only show, for whoever it is, until it is resumed in the
admin.

The health page (installation.doctor) belongs to no organization: operators and superusers see it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from django.contrib.auth.models import Permission, User
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.http import Http404

from core.problems import Problem
from ingestion.models import VIEW_PAYLOAD
from organizations.models import Membership, Organization, Role

OPERATORS = "operator"


class Action(StrEnum):
    """What a page shows or does. A new page takes one of these, or adds one to exactly one row of the roles below.

    Those that begin with `see_` change nothing, and are all that is left in a suspended organization.
    """

    SEE_EVENTS = "see_events"
    # Their data, and what endpoints answered to it: not every member of the staff may read what tenants send.
    SEE_PAYLOADS = "see_payloads"
    SEE_SUBSCRIPTIONS = "see_subscriptions"
    SEE_EVENT_TYPES = "see_event_types"
    SEE_MEMBERS = "see_members"
    SEE_USAGE = "see_usage"
    SAVE_VIEWS = "save_views"

    SEE_KEYS = "see_keys"
    SEE_EXPORTS = "see_exports"
    RETRY_DELIVERIES = "retry_deliveries"
    REPLAY_EVENTS = "replay_events"
    SEND_EVENTS = "send_events"
    CANCEL_EVENTS = "cancel_events"
    EXPORT_EVENTS = "export_events"
    MANAGE_SUBSCRIPTIONS = "manage_subscriptions"
    MANAGE_EVENT_TYPES = "manage_event_types"

    SEE_AUDIT = "see_audit"
    MANAGE_KEYS = "manage_keys"
    MANAGE_MEMBERS = "manage_members"

    MANAGE_ORGANIZATION = "manage_organization"
    MANAGE_OWNERS = "manage_owners"


_VIEWER = frozenset(
    {
        Action.SEE_EVENTS,
        Action.SEE_PAYLOADS,
        Action.SEE_SUBSCRIPTIONS,
        Action.SEE_EVENT_TYPES,
        Action.SEE_MEMBERS,
        Action.SEE_USAGE,
        Action.SAVE_VIEWS,
    }
)
_MEMBER = _VIEWER | {
    Action.SEE_KEYS,
    Action.SEE_EXPORTS,
    Action.RETRY_DELIVERIES,
    Action.REPLAY_EVENTS,
    Action.SEND_EVENTS,
    Action.CANCEL_EVENTS,
    Action.EXPORT_EVENTS,
    Action.MANAGE_SUBSCRIPTIONS,
    Action.MANAGE_EVENT_TYPES,
}
_ADMIN = _MEMBER | {Action.SEE_AUDIT, Action.MANAGE_KEYS, Action.MANAGE_MEMBERS}
_OWNER = frozenset(Action)
_OF_ROLE = {Role.VIEWER: _VIEWER, Role.MEMBER: _MEMBER, Role.ADMIN: _ADMIN, Role.OWNER: _OWNER}
_STAFF = _VIEWER - {Action.SEE_PAYLOADS} | {Action.SEE_KEYS, Action.SEE_AUDIT}
_READING = frozenset(action for action in Action if action.startswith("see_"))


@dataclass(frozen=True, kw_only=True)
class OrganizationContext:
    """A person in an organization, with what this person may do there while it is not suspended.

    `role` is empty for staff without one.
    """

    user: User
    organization: Organization
    role: Role | None
    actions: frozenset[Action]

    def may(self, action: Action) -> bool:
        return action in self.actions and (action in _READING or self.organization.suspended_at is None)

    def require(self, action: Action) -> None:
        """Raises PermissionDenied with the action, a 403; or Problem 403 when only a suspension stands against it."""
        if action not in self.actions:
            raise PermissionDenied(action)
        if action not in _READING:
            self.refuse_if_suspended()

    def refuse_if_suspended(self) -> None:
        """For what changes anything. Raises Problem 403."""
        if self.organization.suspended_at is not None:
            raise Problem("organization_suspended")


def visible_organizations(user: User) -> QuerySet[Organization]:
    """All of them for staff, one's own for members; by name."""
    organizations = Organization.objects.order_by("name")
    return organizations if user.is_staff else organizations.filter(memberships__user=user)


def resolve(user: User, slug: str) -> OrganizationContext:
    """The organization with what `user` may do in it, in one query. Raises Http404 for a stranger."""
    role = Membership.objects.filter(organization=OuterRef("pk"), user=user).values("role")[:1]
    organizations = visible_organizations(user).annotate(
        role_of_viewer=Subquery(role),
        viewer_operates=Exists(user.groups.filter(name=OPERATORS)),
        viewer_reads_payloads=Exists(_payload_permission(user)),
    )
    organization = organizations.filter(slug=slug).first()
    if organization is None:
        raise Http404
    own_role = Role(organization.role_of_viewer) if organization.role_of_viewer else None
    user.operates = organization.viewer_operates  # type: ignore[attr-defined] # so that nobody asks once more
    actions = _actions(
        user,
        own_role,
        is_operator=organization.viewer_operates,
        reads_payloads=organization.viewer_reads_payloads,
    )
    return OrganizationContext(user=user, organization=organization, role=own_role, actions=actions)


def organization_for(user: User, slug: str) -> Organization:
    """The organization. Raises Http404 for a stranger: nobody learns that it exists."""
    return resolve(user, slug).organization


def require(user: User, organization: Organization, action: Action) -> None:
    """Raises PermissionDenied, a 403, unless `user` may do that there; Http404 for a stranger."""
    resolve(user, organization.slug).require(action)


def may_see_health(user: User) -> bool:
    """The page about the installation itself: for those who run it, not for staff who only help tenants."""
    if user.is_superuser or not user.is_staff:
        return user.is_superuser
    known: bool | None = getattr(user, "operates", None)
    return user.groups.filter(name=OPERATORS).exists() if known is None else known


def may_see_payloads_of_all(user: User) -> bool:
    """Whether somebody of the staff may read the data of every organization's events."""
    return user.is_superuser or (user.is_staff and _payload_permission(user).exists())


def roles_with(action: Action) -> Collection[Role]:
    """Whom a person without the right can ask."""
    return [role for role, actions in _OF_ROLE.items() if action in actions]


def _payload_permission(user: User) -> QuerySet[Permission]:
    """The permission, if this person has it, by a group or directly."""
    app, codename = VIEW_PAYLOAD.split(".")
    named = Permission.objects.filter(content_type__app_label=app, codename=codename)
    return named.filter(Q(user=user.pk) | Q(group__user=user.pk))


def _actions(user: User, role: Role | None, *, is_operator: bool, reads_payloads: bool) -> frozenset[Action]:
    actions = _OF_ROLE[role] if role else frozenset()
    if user.is_superuser:
        return _OWNER
    if user.is_staff:
        actions |= _STAFF
        if is_operator:
            actions |= _ADMIN - {Action.SEE_PAYLOADS, Action.SEND_EVENTS}
        if reads_payloads:
            actions |= {Action.SEE_PAYLOADS}
    return actions
