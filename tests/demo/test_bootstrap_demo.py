"""The demo organization and the admin user are made once, and their lost secrets replaced; or the admin alone."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from demo.management.commands.bootstrap_demo import KEY_NAME, bootstrap_demo
from events_platform.up.banner import banner_without_demo, first_login
from installation.local.data_dir import DataDir
from installation.management.commands import bootstrap_admin
from organizations.keys.scopes import Scope
from organizations.models import ApiKey, Membership, Organization
from organizations.plans import Plan

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


def test_without_a_demo_there_is_only_an_admin_whose_password_is_shown_once(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    known = first_login(data)
    call_command("bootstrap_admin", file=data.admin)

    access = json.loads(data.admin.read_text())
    assert access.keys() == {"admin_username", "admin_password"}
    assert stat.S_IMODE(data.admin.stat().st_mode) == 0o600
    admin = User.objects.get()
    assert (admin.username, admin.is_superuser, admin.is_staff) == (access["admin_username"], True, True)
    assert admin.check_password(access["admin_password"])
    assert not Organization.objects.exists()
    shown = banner_without_demo(data, BASE_URL, known=known)
    assert f"admin / {access['admin_password']}\n" in shown
    assert "manage.py create_organization acme --plan pro\n" in shown
    assert "manage.py issue_key acme\n" in shown
    assert "curl" not in shown

    before = data.admin.read_text(), admin.password
    known = first_login(data)
    call_command("bootstrap_admin", file=data.admin)
    admin.refresh_from_db()
    assert (data.admin.read_text(), admin.password) == before
    again = banner_without_demo(data, BASE_URL, known=known)
    assert access["admin_password"] not in again
    assert str(data.admin) in again


@pytest.mark.parametrize(("username", "superuser"), [("somebody", True), ("admin", False)])
def test_without_a_demo_an_administrator_that_is_there_stays_the_only_one(
    tmp_path: Path, username: str, superuser: bool
) -> None:
    User.objects.create_user(username, is_superuser=superuser)
    data = DataDir(tmp_path)
    call_command("bootstrap_admin", file=data.admin)

    only = User.objects.get()
    assert (only.username, only.is_superuser, only.has_usable_password()) == (username, superuser, False)
    assert not data.admin.exists()
    assert "an existing administrator" in banner_without_demo(data, BASE_URL, known=None)


def test_a_password_that_cannot_be_kept_is_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(bootstrap_admin, "write_private", full)
        with pytest.raises(OSError, match="No space"):
            call_command("bootstrap_admin", file=tmp_path / "admin.json")
    assert not User.objects.exists()
    call_command("bootstrap_admin", file=tmp_path / "admin.json")
    assert User.objects.exists()


def test_a_torn_file_of_the_admin_stops_no_start(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    for text in ("{", "[]", "{}"):
        data.admin.write_text(text)
        assert first_login(data) is None
