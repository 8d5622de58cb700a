"""Create what a first visitor needs, once: a demo organization, its API key, and an admin user."""

import hmac
import json
import secrets
from argparse import ArgumentParser
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils import timezone

from installation.local.data_dir import write_private
from installation.management.commands.bootstrap_admin import USERNAME
from organizations.audit import Actor
from organizations.keys.key_format import hash_key
from organizations.keys.scopes import Scope
from organizations.models import ApiKey, Membership, Organization, Role
from organizations.operations import add_member, create_organization, issue_key, revoke_key
from organizations.plans import Plan

SLUG = "demo"
KEY_NAME = "Demo key"
_ACTOR = Actor.system("up")


@dataclass(frozen=True, kw_only=True)
class DemoAccess:
    """How to reach the demo; `admin_password` is empty once somebody has chosen another one."""

    base_url: str
    api_key: str
    organization: str
    admin_username: str
    admin_password: str


class Command(BaseCommand):
    help = "Create the demo organization and the admin user once, and write how to reach them to a private file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--file", type=Path, required=True, help="JSON file, mode 0600: read when it is there")
        parser.add_argument("--base-url", required=True, help="where the web server answers")

    def handle(self, *args: Any, file: Path, base_url: str, **options: Any) -> None:
        try:
            known: DemoAccess | None = DemoAccess(**json.loads(file.read_text()))
        except (OSError, ValueError, TypeError):
            known = None
        access = bootstrap_demo(known=known, base_url=base_url)
        if access != known:
            write_private(file, json.dumps(asdict(access), indent=1))


@transaction.atomic
def bootstrap_demo(*, known: DemoAccess | None, base_url: str) -> DemoAccess:
    """Create what is missing, and return how to reach it.

    `known` is what an earlier call returned. Without it the secrets are lost, for only their hashes are stored:
    the admin gets a new password, the demo key is revoked and issued anew.
    """
    organization = Organization.objects.filter(slug=SLUG).first() or create_organization(
        name="Demo", slug=SLUG, plan=Plan.ENTERPRISE, actor=_ACTOR
    )
    user, password = _admin(known)
    if not Membership.objects.filter(organization=organization, user=user).exists():
        add_member(organization=organization, user=user, role=Role.OWNER, actor=_ACTOR)
    return DemoAccess(
        base_url=base_url,
        api_key=_api_key(organization, known),
        organization=organization.slug,
        admin_username=user.get_username(),
        admin_password=password,
    )


def _admin(known: DemoAccess | None) -> tuple[User, str]:
    """The admin and the password; a password that somebody chose since then stays, unknown to us."""
    user, created = User.objects.get_or_create(username=USERNAME, defaults={"is_staff": True, "is_superuser": True})
    if known is not None and not created:
        return user, known.admin_password if user.check_password(known.admin_password) else ""
    password = secrets.token_urlsafe(12)
    user.set_password(password)
    user.save(update_fields=["password"])
    return user, password


def _api_key(organization: Organization, known: DemoAccess | None) -> str:
    active = ApiKey.objects.filter(organization=organization, name=KEY_NAME, revoked_at=None)
    if known is not None and any(_is_whole(key, known.api_key) for key in active):
        return known.api_key
    for key in active:
        revoke_key(key=key, actor=_ACTOR)
    return issue_key(organization=organization, name=KEY_NAME, scopes=list(Scope), actor=_ACTOR).plaintext


def _is_whole(key: ApiKey, plaintext: str) -> bool:
    """Is `plaintext` this key, unexpired, with every scope that there is by now?"""
    expired = key.expires_at is not None and key.expires_at <= timezone.now()
    same = hmac.compare_digest(bytes(key.key_hash), hash_key(plaintext))
    return same and not expired and set(key.scopes) == set(Scope)
