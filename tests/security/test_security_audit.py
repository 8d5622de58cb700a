"""The audit log says who did it, from where and with what; and what `make check` makes of packages."""

import importlib.util
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.test import Client

from organizations.models import ApiKey, AuditEntry, Membership, Role
from tests.conftest import Tenant
from tests.factories import UserFactory
from tests.support.people.console_data import make_member

AGENT = "agent/1.0 (<script>)"
TODAY = date(2026, 11, 24)


def test_each_action_is_written_down_with_who_from_where_and_by_what(tenant: Tenant, settings: Any) -> None:
    settings.WEBHOOK_ALLOW_HTTP = True
    _by_api(tenant)
    _by_console(tenant)
    _by_admin(tenant)
    entries = AuditEntry.objects.exclude(actor_kind="system").exclude(action__startswith="account.").order_by("pk")
    assert {entry.action for entry in entries} >= {
        "api_key.issued", "api_key.rotated", "api_key.revoked", "api_key.looked_up", "subscription.created",
        "subscription.secret_rotated", "subscription.secret_shown", "invitation.created", "member.role_changed",
        "member.removed", "export.created", "organization.updated",
    }  # fmt: skip
    for entry in entries:
        assert (entry.address, entry.user_agent) == ("127.0.0.1", AGENT), entry.action
        assert entry.actor_label in {"Test (" + tenant.key.public_id + "…)", "olga", "root"}, entry.action


def _by_api(tenant: Tenant) -> None:
    said = {"User-Agent": AGENT}
    key = tenant.post("/api/v1/api-keys", {"name": "Second", "scopes": ["events:read"]}, **said).json()["id"]
    tenant.post(f"/api/v1/api-keys/{key}/rotate", {}, **said)
    tenant.request("DELETE", f"/api/v1/api-keys/{key}", **said)
    body = {"kind": "webhook", "url": "http://93.184.215.14/hook"}
    webhook = tenant.post("/api/v1/subscriptions", body, **said).json()["id"]
    tenant.post(f"/api/v1/subscriptions/{webhook}/rotate-secret", {}, **said)
    tenant.get(f"/api/v1/subscriptions/{webhook}/secret", **said)


def browser_of(user: Any) -> Client:
    browser = Client(headers={"User-Agent": AGENT})
    browser.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return browser


def _by_console(tenant: Tenant) -> None:
    organization = tenant.organization
    browser = browser_of(make_member(organization, Role.OWNER, username="olga"))
    other = Membership.objects.get(user=make_member(organization, Role.VIEWER))
    home = f"/console/o/{organization.slug}"
    browser.post(f"{home}/members/invite", {"email": "a@example.com", "role": "member"})
    browser.post(f"{home}/members/{other.pk}/role", {"role": "member"})
    browser.post(f"{home}/members/{other.pk}/remove", {})
    browser.post(f"{home}/exports/new", {"format": "csv"})


def _by_admin(tenant: Tenant) -> None:
    organization = tenant.organization
    browser = browser_of(UserFactory.create(username="root", is_staff=True, is_superuser=True))
    browser.post("/admin/organizations/apikey/find/", {"pasted": tenant.plaintext})
    form = {"name": "Renamed", "slug": organization.slug, "plan": "pro", "events_per_minute_override": "",
            "retention_days_override": ""}  # fmt: skip
    browser.post(f"/admin/organizations/organization/{organization.pk}/change/", form)


def test_an_agent_is_one_short_line_of_text(tenant: Tenant) -> None:
    agent = "a\x00b\tc" + "d" * 1_000
    tenant.post("/api/v1/api-keys", {"name": "Second", "scopes": ["events:read"]}, **{"User-Agent": agent})
    entry = AuditEntry.objects.filter(target_id=str(ApiKey.objects.latest("pk").pk)).latest("pk")
    assert entry.user_agent == "ab c" + "d" * 196


# --- Packages --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def check() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "scripts" / "check_requirements.py"
    spec = importlib.util.spec_from_file_location("check_requirements", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_known_vulnerability_fails_and_an_excuse_ends(check: ModuleType) -> None:
    found = {"name": "Some_Package", "version": "1.0", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"]}]}
    report = {"dependencies": [found, {"name": "other", "skip_reason": "not found"}]}
    packages = {"some-package", "other"}

    def judge(*ignored: dict[str, Any]) -> tuple[list[str], int]:
        result: tuple[list[str], int] = check.judge(report, list(ignored), packages=packages, today=TODAY)
        return result

    assert judge() == (["Some_Package 1.0: PYSEC-1, fixed in: none yet"], 1)
    excuse = {"id": "CVE-1", "reason": "not used here", "until": TODAY}
    assert judge(excuse) == ([], 1)
    assert len(judge({**excuse, "until": TODAY - timedelta(days=1)})[0]) == 2
    assert len(judge({**excuse, "reason": " "})[0]) == 2


def test_only_packages_that_this_python_gets_are_expected_in_the_audit(check: ModuleType) -> None:
    requirements = """# by uv
plain==1.0 \\
    --hash=sha256:00
Some_Extra[binary, pool]==2.0 ; python_full_version >= '3.11.0' \\
    --hash=sha256:00
    # via plain
others==3.0 ; sys_platform == 'win32' \\
    --hash=sha256:00
"""
    assert check.packages_of(requirements) == {"plain", "some-extra"}


def test_a_licence_that_is_not_allowed_fails(check: ModuleType) -> None:
    allowed = {"run_time": ["MIT", "BSD"], "development": ["GPL"], "read": {"odd": "MIT"}}
    licences = {
        "a": "MIT",
        "b": "GPL",
        "c": "GPL",
        "d": "UNKNOWN",
        "e": "MIT OR Other",
        "f": "MIT AND X",
        "odd": "?",
    }
    wrong = check.wrong_licences(licences, allowed, run_time={"a", "c", "e", "f"})
    assert [line.partition(":")[0] for line in wrong] == ["c", "d", "f"]
