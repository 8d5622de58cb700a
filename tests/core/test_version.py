"""Operators can tell which version runs, wherever they look; nothing about finding that out can break a page."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from core import version
from observability.metrics import views as metrics_views
from observability.metrics.state import StateCollector
from tests.conftest import Tenant
from tests.factories import UserFactory
from tests.support.people.console_data import make_member


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An installation as `REVISION` describes it."""
    (tmp_path / "REVISION").write_text("4d0a1b2c3d4e\n")
    monkeypatch.setattr(version, "_CHECKOUT", tmp_path)
    version.revision.cache_clear()
    # What another test was told is remembered for some seconds.
    monkeypatch.setattr(metrics_views, "_state", StateCollector())
    yield
    version.revision.cache_clear()


@pytest.mark.usefixtures("_installed")
def test_liveness_and_metrics_name_the_version_and_the_revision(db: None) -> None:
    assert Client().get("/health/live").json() == {
        "status": "ok",
        "version": version.VERSION,
        "revision": "4d0a1b2c3d4e",
    }
    told = Client().get("/metrics").content.decode()
    assert f'events_build_info{{revision="4d0a1b2c3d4e",version="{version.VERSION}"}} 1.0' in told


@pytest.mark.usefixtures("_installed")
def test_signed_in_people_see_it_at_the_foot_of_console_account_and_admin(tenant: Tenant) -> None:
    expected = f"Events Platform {version.VERSION} (4d0a1b2c3d4e)"
    member = _signed_in(make_member(tenant.organization))
    for path in (f"/console/o/{tenant.organization.slug}/events/", "/account/"):
        assert expected in member.get(path).content.decode(), path
    assert expected in _signed_in(UserFactory.create(is_staff=True, is_superuser=True)).get("/admin/").content.decode()
    for path in ("/account/sign-in/", "/admin/login/"):
        assert "4d0a1b2c3d4e" not in Client().get(path, follow=True).content.decode(), path


def _signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def _commit(folder: Path) -> str:
    git = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "First"], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout


def test_the_file_wins_over_the_commit_and_nonsense_is_skipped(tmp_path: Path) -> None:
    commit = _commit(tmp_path)
    assert version.find_revision(tmp_path) == commit[:12]
    (tmp_path / "REVISION").write_text("<script>\n")
    assert version.find_revision(tmp_path) == commit[:12]
    (tmp_path / "REVISION").write_text("v1-4d0a1b2c3d4e\n")
    assert version.find_revision(tmp_path) == "v1-4d0a1b2c3d4e"


def test_a_folder_inside_somebody_elses_repository_has_no_revision(tmp_path: Path) -> None:
    _commit(tmp_path)
    (tmp_path / "installed").mkdir()
    assert version.find_revision(tmp_path / "installed") == version.UNKNOWN


@pytest.mark.parametrize("git", [None, "#!/bin/sh\nexit 128\n", "#!/bin/sh\nexec /bin/sleep 600\n"])
def test_a_git_that_is_missing_fails_or_hangs_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, git: str | None
) -> None:
    (tmp_path / ".git").mkdir()
    if git:
        (tmp_path / "git").write_text(git)
        (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(version, "_GIT_SECONDS", 0.2)
    assert version.find_revision(tmp_path) == version.UNKNOWN
