"""A new version put over a running one breaks nothing before the restart: all that pages need is loaded by then.

Nobody should upgrade so (docs/operations/upgrade.md), but a `git pull` in the wrong folder is soon made.
"""

import shutil
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client as Visitor

from installation.local.data_dir import CHECKOUT
from organizations.models import Membership, Role
from tests.factories import make_organization
from tests.support.http.clients import Client
from tests.support.rooms import ROOMS
from tests.support.servers import serve

pytestmark = pytest.mark.slow

PARTS = (*ROOMS, "static", "templates")
PAGES = (
    "/console/", "/console/events/", "/console/live/", "/console/organizations/", "/console/o/{slug}/",
    "/console/o/{slug}/events/", "/console/o/{slug}/keys/", "/console/o/{slug}/subscriptions/",
    "/console/o/{slug}/members/", "/account/", "/account/sessions/", "/account/password/", "/account/second-factor/",
    "/account/second-factor/app/", "/admin/", "/admin/organizations/organization/", "/admin/organizations/apikey/",
    "/admin/organizations/membership/add/", "/admin/delivery/delivery/", "/admin/ingestion/event/", "/admin/auth/user/",
    "/admin/auth/user/add/", "/api/docs", "/docs/errors", "/health/ready",
)  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_pages_that_were_never_asked_for_outlive_the_files_that_they_come_from(tmp_path: Path) -> None:
    for part in PARTS:
        shutil.copytree(CHECKOUT / part, tmp_path / part)
    shutil.copy(CHECKOUT / "gunicorn.conf.py", tmp_path)
    organization = make_organization()
    user = User.objects.create_superuser("sam", "sam@example.com", "correct horse battery staple")
    Membership.objects.create(organization=organization, user=user, role=Role.OWNER)
    person = Visitor()
    person.force_login(user)
    cookie = f"{settings.SESSION_COOKIE_NAME}={person.cookies[settings.SESSION_COOKIE_NAME].value}"
    with serve(workers=1, checkout=tmp_path) as server:
        for file in tmp_path.rglob("*.py"):
            file.write_text("raise RuntimeError('of another version')\n")
        for file in (tmp_path / "templates").rglob("*.html"):
            file.write_text("{% of another version %}")
        client = Client(server.base_url, None)
        answers = {path: client.get(path.format(slug=organization.slug), Cookie=cookie).status for path in PAGES}
        answers["a form"] = client.post("/console/sign-in/", b"username=sam&password=wrong").status
        answers["no page"] = client.get("/console/no-such-page").status
    assert {path: status for path, status in answers.items() if status >= 400} == {"a form": 403, "no page": 404}
    assert all(status in (200, 301, 302, 403, 404) for status in answers.values())
