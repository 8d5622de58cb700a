"""The demo organization and the admin user are made once, and their lost secrets replaced."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from events_platform.management.commands.bootstrap_demo import KEY_NAME, bootstrap_demo
from organizations.models import ApiKey, Membership, Organization
from organizations.plans import Plan
from organizations.scopes import Scope

pytestmark = pytest.mark.django_db

BASE_URL = "http://127.0.0.1:8000"


def test_it_works(tmp_path: Path) -> None:
    file = tmp_path / "demo.json"
    call_command("bootstrap_demo", file=file, base_url=BASE_URL)

    access = json.loads(file.read_text())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (access["base_url"], access["organization"], access["admin_username"]) == (
        BASE_URL,
        "demo",
        "admin",
    )
    organization = Organization.objects.get(slug="demo")
    assert organization.plan == Plan.ENTERPRISE
    key = ApiKey.objects.get(organization=organization)
    assert key.public_id in access["api_key"]
    assert set(key.scopes) == set(Scope)
    admin = User.objects.get(username="admin")
    assert admin.is_superuser
    assert admin.check_password(access["admin_password"])
    assert Membership.objects.get(organization=organization, user=admin).role == "owner"

    before = file.read_text()
    call_command("bootstrap_demo", file=file, base_url=BASE_URL)
    assert file.read_text() == before
    assert ApiKey.objects.count() == 1


def test_lost_file_replaces_key_and_password() -> None:
    first = bootstrap_demo(known=None, base_url=BASE_URL)
    second = bootstrap_demo(known=None, base_url=BASE_URL)

    assert second.api_key != first.api_key
    assert Organization.objects.count() == 1
    active = ApiKey.objects.get(name=KEY_NAME, revoked_at=None)
    assert active.public_id in second.api_key
    admin = User.objects.get(username="admin")
    assert admin.check_password(second.admin_password)


def test_revoked_or_narrowed_key_is_replaced() -> None:
    first = bootstrap_demo(known=None, base_url=BASE_URL)
    ApiKey.objects.update(scopes=[Scope.EVENTS_READ])
    second = bootstrap_demo(known=first, base_url=BASE_URL)
    assert second.api_key != first.api_key
    assert second.admin_password == first.admin_password
    assert ApiKey.objects.filter(revoked_at=None).count() == 1


def test_password_that_somebody_chose_stays() -> None:
    first = bootstrap_demo(known=None, base_url=BASE_URL)
    admin = User.objects.get(username="admin")
    admin.set_password("chosen in the admin")
    admin.save()

    assert bootstrap_demo(known=first, base_url=BASE_URL) == replace(first, admin_password="")
    admin.refresh_from_db()
    assert admin.check_password("chosen in the admin")


def test_another_port_changes_only_the_address() -> None:
    first = bootstrap_demo(known=None, base_url=BASE_URL)
    moved = "http://127.0.0.1:9000"
    assert bootstrap_demo(known=first, base_url=moved) == replace(first, base_url=moved)
