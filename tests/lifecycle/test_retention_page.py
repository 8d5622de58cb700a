"""The commands of docs/operations/retention.md, as they stand there, do what the page says.

They run in this process, because a Python for each would take longer than all that they do.
"""

import os
import shlex
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import execute_from_command_line
from django.db import connections

from ingestion.models import Event
from ingestion.operations import process_outbox
from organizations.models import Organization
from tests.conftest import Tenant
from tests.support.pages import run_by

pytestmark = pytest.mark.django_db
ANN, OTHER = {"id": 1, "email": "ann@example.com"}, {"id": 42, "email": "bob@example.com", "name": "Bob"}


@pytest.fixture
def acme(tenant: Tenant) -> Tenant:
    Organization.objects.filter(pk=tenant.organization.pk).update(slug="acme")
    for user in (ANN, OTHER):
        sent = tenant.post("/api/v1/events", {"type": "user.seen", "subject": "s", "data": {"user": user}})
        assert sent.status_code == 202
    process_outbox()
    return tenant


def commands() -> dict[str, list[list[str]]]:
    """The calls of each block, by the name of their command."""
    found = {}
    for block in run_by("docs/operations/retention.md", "test_retention_page.py"):
        calls = [shlex.split(line, comments=True) for line in block.text.splitlines()]
        assert all(call[:2] == ["python", "manage.py"] for call in calls)
        found[calls[0][2]] = [call[1:] for call in calls]
    return found


def test_each_command_does_what_the_page_says(
    acme: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lifecycle.erasing.organization.SETTLED_AFTER", timedelta(0))
    # A command closes the connections at its end; this one is the test's.
    monkeypatch.setattr(connections, "close_all", lambda: None)
    blocks = commands()
    assert set(blocks) == {"apply_retention", "export_organization", "erase_organization", "erase_events"}

    for call in blocks["apply_retention"]:
        execute_from_command_line(call)
    assert Event.objects.count() == 2, "nothing of it is old"

    (export,) = blocks["export_organization"]
    execute_from_command_line(export)
    assert [file for file in os.listdir(tmp_path) if file.endswith(".zip")] == ["acme.zip"]

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    dry, erase, redact = blocks["erase_events"]
    capsys.readouterr()
    execute_from_command_line(dry)
    assert capsys.readouterr().out.startswith("1 events")
    assert Event.objects.count() == 2
    execute_from_command_line(erase)
    execute_from_command_line(redact)
    (left,) = acme.get("/api/v1/events").json()["data"]
    assert left["data"] == {"user": {"id": 42, "email": "[redacted]", "name": "[redacted]"}}
    assert left["subject"] is None

    monkeypatch.setattr("builtins.input", lambda _: "acme")
    (organization,) = blocks["erase_organization"]
    execute_from_command_line(organization)
    assert not Organization.objects.filter(slug="acme").exists()
