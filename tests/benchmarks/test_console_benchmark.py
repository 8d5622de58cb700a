"""The benchmark of the pages knows every page: one with an object that it has no sample of would go unmeasured."""

from io import StringIO

import pytest
import time_machine
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from benchmarks.console_scene import make_scene
from benchmarks.console_urls import all_pages


@pytest.mark.django_db
def test_every_page_has_what_it_is_about() -> None:
    call_command("seed", events=2_000, tenants=3, stdout=StringIO())
    with time_machine.travel(timezone.now(), tick=False):  # tokens hold the time
        scene = make_scene()
        assert make_scene().arguments == scene.arguments
    pages = [page for page in all_pages() if not page.reason and not page.is_of_admin]
    assert len({page.path(scene) for page in pages}) == len(pages)


@pytest.mark.django_db
@pytest.mark.parametrize("url_name", ["console:event", "admin:delivery_delivery_retry_all"])
def test_the_objects_are_there(url_name: str) -> None:
    call_command("seed", events=2_000, tenants=3, stdout=StringIO())
    scene = make_scene()
    client = Client()
    client.force_login(scene.staff, backend="django.contrib.auth.backends.ModelBackend")
    page = next(page for page in all_pages() if page.url_name == url_name)
    assert client.get(page.path(scene)).status_code == 200
