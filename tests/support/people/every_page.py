"""One of everything that has a page, and the path of every page: of console, accounts, admin and portal.

The paths come from the URL conf, so a new page is looked at by tests/browser/test_every_page.py without being listed.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from unittest import mock

from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.contrib.auth.tokens import default_token_generator
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from accounts.groups import SUPPORT
from console.events.filters import EventFilters
from console.exports.jobs import create_export, run_exports
from console.models import Export, ExportFormat, SavedView
from delivery.models import Replay, Subscription
from ingestion.models import EventType
from lifecycle.models import Erasure, ErasureKind
from notifications.unsubscribing import ending_path
from organizations.jobs.models import JobStatus
from organizations.models import ApiKey, AuditEntry, Invitation, Membership, Organization, Role
from organizations.operations import invitation_token, invite_member
from portal.models import PortalAppearance, PortalLink
from tests.conftest import Tenant
from tests.factories import TESTER, make_key, make_organization
from tests.support.people.console_data import Scene, make_counts, make_issue, make_retry, make_scene
from tests.support.people.portal_visits import TAG

PASSWORD = "correct horse battery staple"
PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")
ADMIN_OBJECT = re.compile(r"admin/(\w+)/(\w+)/<path:object_id>/")
# URL name → why nobody looks at it: what is no page of ours, or answers only what a form sends.
NO_PAGES = {
    "home": "leads to the console",
    "account_login": "leads to the console's sign-in page",
    "admin_password_reset": "leads to the account's page",
    "console:home": "leads to an organization",
    "console:sign-out": "a form's",
    "admin:logout": "a form's",
    "admin:autocomplete": "JSON for a field",
    "admin:jsi18n": "a script",
    "console:event-raw": "a file",
    "console:delivery-body": "a file",
    "console:download-export": "a file",
    "console:export-audit": "a file",
    "mfa_download_recovery_codes": "a file",
    "console:start-status": "a part for htmx",
    "console:live-stream": "a stream of events",
    "console:all-live-stream": "a stream of events",
    "console:replay": "a form's",
    "console:cancel-event": "a form's",
    "console:retry": "a form's",
    "console:save-view": "a form's",
    "console:delete-view": "a form's",
    "console:issue-key": "a form's",
    "console:pause-subscription": "a form's",
    "console:resume-subscription": "a form's",
    "console:try-endpoint": "a form's",
    "console:retry-delivery": "a form's",
    "portal-settings-end": "a form's",
    "portal:open": "leads to the portal",
    "portal:theme": "a style sheet",
    "portal:sign-out": "a form's",
    "portal:pause-subscription": "a form's",
    "portal:resume-subscription": "a form's",
    "portal:retry-delivery": "a form's",
    "portal:retry-all": "a form's",
    "console:skip-delivery": "a form's",
    "console:retry-selected": "a form's",
    "console:invite": "a form's",
    "console:change-role": "a form's",
    "console:cancel-job": "a form's",
    "console:annotate-issue": "a form's",
    "console:near-organizations": "a part for htmx",
    "console:theme": "a form's",
    "console:withdraw-invitation": "a form's",
    "account_end_other_sessions": "a form's",
    "account_end_session": "a form's",
    "api-schema": "for programs",
    "llms": "for programs",
    "api-docs": "is drawn by a script of its own",
    "metrics": "for programs",
    "health-live": "for programs",
    "health-ready": "for programs",
    "health-status": "for programs",
    "health-seen": "for programs",
}
# Models whose rows are not made, changed or deleted by hand: the admin refuses these pages even to superusers.
REFUSED_BY_ADMIN = re.compile(
    r"admin:(?:\w+_(?:auditentry|event|eventtype|processingfailure|delivery|subscription|portallink)_(?:add|delete)"
    r"|organizations_(?:organization|apikey)_delete|events_platform_erasure_delete|portal_portalappearance_delete)"
)
# Django's list of changes looks the same for each model.
ALIKE = re.compile(r"admin:(?!organizations_organization_)\w+_history")
SIGNED_OUT = {
    "console:sign-in", "admin:login", "account_reset_password", "account_reset_password_sent",
    "account_reset_password_done", "account_reset_password_confirm", "account_end_notices", "console:invitation",
}  # fmt: skip


@dataclass
class World:
    """`person` is a superuser with an app and owns `scene.organization`; `newcomer` owns `empty`, which has nothing."""

    scene: Scene
    empty: Organization
    person: User
    newcomer: User
    viewer: User
    ids: dict[str, object] = field(default_factory=dict)

    @property
    def home(self) -> str:
        return f"/console/o/{self.scene.organization.slug}/"


def make_world(tenant: Tenant) -> World:
    organization = tenant.organization
    Organization.objects.filter(pk=organization.pk).update(name="Harbour Books", slug="harbour-books", plan="business")
    organization.refresh_from_db()
    # Commits are real here: the servers may just be writing down the counts of this very minute.
    with mock.patch("tests.support.people.console_data.make_counts"):
        scene = make_scene(tenant)
    Subscription.objects.filter(pk=scene.webhook.pk).update(tags=[TAG])
    make_counts(organization, timezone.now() - timedelta(minutes=2))
    person = User.objects.create_superuser("sam", "sam@example.com", PASSWORD)
    Membership.objects.create(organization=organization, user=person, role=Role.OWNER)
    newcomer = User.objects.create_user("nora", "nora@example.com", PASSWORD)
    empty = make_organization(name="Nothing Yet", slug="nothing-yet")
    Membership.objects.create(organization=empty, user=newcomer, role=Role.OWNER)
    PortalAppearance.objects.create(organization=empty, name="Nothing Yet")
    PortalLink.objects.create(organization=organization, api_key=ApiKey.objects.filter(organization=organization)[0],
                              tag=TAG, may_manage=False, token_hash=b"x", expires_at=timezone.now())  # fmt: skip
    viewer = User.objects.create_user("vera", "vera@example.com", PASSWORD)
    Membership.objects.create(organization=organization, user=viewer, role=Role.VIEWER)
    Erasure.objects.create(organization_id=empty.pk, kind=ErasureKind.REDACTION, status=JobStatus.DONE,
                           removed={"events redacted": 3}, actor_kind="user", actor_label="sam")  # fmt: skip
    world = World(scene, empty, person, newcomer, viewer)
    world.ids |= _of_console(world) | _of_account(person)
    return world


def _of_console(world: World) -> dict[str, object]:
    """By the names that the URLs give them."""
    scene, organization, now = world.scene, world.scene.organization, timezone.now()
    make_key(organization, expires_at=now + timedelta(days=5))
    replay = Replay.objects.create(organization=organization, subscription=scene.webhook, received_after=now,
                                   received_before=now, total=120, looked_at=40, created=38)  # fmt: skip
    invitation = invite_member(organization=organization, email="edsger@example.com", role="member",
                               invited_by=world.person, actor=TESTER, now=now)  # fmt: skip
    for kind in ExportFormat:
        wanted = EventFilters(type="invoice.paid" if kind is ExportFormat.CSV else "", source="/billing")
        create_export(organization=organization, user=world.person, wanted=wanted, kind=kind, actor=TESTER, now=now)
    run_exports(seconds=5)
    running = Export.objects.get(format=ExportFormat.NDJSON)
    Export.objects.filter(pk=running.pk).update(status="running", total=12, finished_at=None)
    SavedView.objects.create(organization=organization, owner=world.person, name="Paid", query="type=invoice.paid")
    make_issue(scene.dead, error="timeout", status_code=0, reopened=2, note="They roll out until noon")
    return {
        "slug": organization.slug,
        "issue_id": make_issue(scene.dead).pk,
        "event_id": scene.event_id,
        "delivery_id": scene.dead.pk,
        "number": 2,
        "subscription_id": scene.webhook.pk,
        "replay_id": replay.pk,
        "job_id": make_retry(scene.webhook).pk,
        "export_id": running.pk,
        "key_id": ApiKey.objects.filter(organization=organization)[0].pk,
        "type_id": EventType.objects.get(organization=organization, name="invoice.paid").pk,
        "membership_id": Membership.objects.get(organization=organization, role=Role.VIEWER).pk,
        "invitation_id": invitation.pk,
        "token": invitation_token(invitation),
    }


def _of_account(person: User) -> dict[str, object]:
    TOTP.activate(person, "JBSWY3DPEHPK3PXP")
    RecoveryCodes.activate(person)
    return {"uidb64": urlsafe_base64_encode(force_bytes(person.pk))}


def session_of(user: User, *, confirmed: bool = True) -> dict[str, str]:
    """The cookie of a browser that is signed in, with the second factor."""
    client = Client(headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"})
    client.post("/console/sign-in/", {"username": user.username, "password": PASSWORD})
    session = client.session
    if confirmed:
        session["account_authentication_methods"] = [
            {"method": "password", "at": time.time(), "reauthenticated": True},
            {"method": "mfa", "at": time.time(), "type": "totp", "reauthenticated": True},
        ]
        session.save()
    return {"name": settings.SESSION_COOKIE_NAME, "value": session.session_key or ""}


def routes() -> Iterator[tuple[str, str]]:
    """`(name, route)` of whatever the URL conf has, but for the API."""

    def walk(patterns: list[URLPattern | URLResolver], prefix: str, space: str) -> Iterator[tuple[str, str]]:
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, route, f"{pattern.namespace}:" if pattern.namespace else space)
            elif pattern.name:
                yield f"{space}{pattern.name}", route

    return ((name, route) for name, route in walk(get_resolver().url_patterns, "", "") if "api/v1/" not in route)


def pages(world: World, area: str) -> list[tuple[str, str]]:
    """`(name, path)` of each page below `area`: `console`, `account`, `admin` or `portal`."""
    found = []
    for name, route in routes():
        if name in NO_PAGES or name in SIGNED_OUT or REFUSED_BY_ADMIN.fullmatch(name) or ALIKE.fullmatch(name):
            continue
        first = route.partition("/")[0]
        if area == first or (area == "console" and first not in ("admin", "account", "portal")):
            found.append((name, path_of(world, name, route)))
    return found


def path_of(world: World, name: str, route: str) -> str:
    if name == "admin:app_list":
        return "/admin/organizations/"
    ids = dict(world.ids)
    if name.startswith("admin:"):
        ids |= _of_admin(world, name, route)
    if name == "account_reset_password_confirm":
        ids["token"] = default_token_generator.make_token(world.person)
    if name == "account_end_notices":
        return ending_path(world.person, world.scene.organization, None)
    return "/" + PARAMETER.sub(lambda found: str(ids[found[1]]), route)


def _of_admin(world: World, name: str, route: str) -> dict[str, object]:
    organization = world.scene.organization
    if name.endswith(("_suspend", "_resume")):
        return {"pk": organization.pk}
    if name.endswith("_retry_all"):
        return {"pk": world.scene.webhook.pk}
    if name == "admin:auth_user_password_change":
        return {"id": world.newcomer.pk}
    if name == "admin:organizations_apikey_revoke":
        return {"pk": world.ids["key_id"]}
    if not (of_object := ADMIN_OBJECT.match(route)):
        return {}
    chosen = {
        "organization": organization.pk,
        "membership": world.ids["membership_id"],
        "apikey": world.ids["key_id"],
        "erasure": Erasure.objects.latest("pk").pk,
        "auditentry": AuditEntry.objects.latest("pk").pk,
        "subscription": world.scene.webhook.pk,
        "delivery": world.scene.dead.pk,
        "event": world.scene.event_id,
        "eventtype": world.ids["type_id"],
        "processingfailure": world.scene.failed_id,
        "portalappearance": world.empty.pk,
        "portallink": PortalLink.objects.latest("pk").pk,
        "group": Group.objects.get(name=SUPPORT).pk,
        "user": world.newcomer.pk,
    }
    return {"object_id": chosen[of_object[2]]}


def expired_invitation(world: World) -> str:
    invitation = invite_member(organization=world.scene.organization, email="late@example.com", role="member",
                               invited_by=world.person, actor=TESTER, now=timezone.now())  # fmt: skip
    Invitation.objects.filter(pk=invitation.pk).update(expires_at=timezone.now() - timedelta(days=1))
    return f"/console/invitations/{invitation_token(invitation)}/"
