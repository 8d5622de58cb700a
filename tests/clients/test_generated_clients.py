"""Clients that public generators make of the platform's document: made, compiled and used, where the generator is.

`.ci/run` installs none of them: npm and pip take minutes for what changes with the document alone.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ingestion.operations import process_outbox
from rest.openapi import build_document
from tests.support.http.clients import make_sender
from tests.support.servers import serve

pytestmark = pytest.mark.slow

IN_PYTHON = """
import sys

from generated import AuthenticatedClient
from generated.api.events import get_event, list_events, send_event
from generated.api.inbox import ack_events, lease_events
from generated.api.subscriptions import create_subscription
from generated.models import Ack, EventAccepted, LeaseRequest, NewEvent, NewInbox, NewInboxKind, ProblemDocument

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2], raise_on_unexpected_status=True)
inbox = create_subscription.sync(client=client, body=NewInbox(kind=NewInboxKind.INBOX, name="ledger"))
print(inbox.status)
sent = send_event.sync(client=client, body=NewEvent(type_="invoice.paid", data={"amount": 12900}))
assert isinstance(sent, EventAccepted)
refused = send_event.sync(client=client, body=NewEvent(type_="not a type", data=None))
assert isinstance(refused, ProblemDocument)
print(refused.errors[0].pointer)
page = list_events.sync(client=client, type_="invoice.*")
print(page.data[0].id == sent.id, page.data[0].data, page.next_cursor)
print("processed, please", flush=True)
sys.stdin.readline()
lease = lease_events.sync(client=client, body=LeaseRequest(max_=10), inbox="ledger")
print(lease.events[0].id == sent.id, lease.events[0].data)
print(len(ack_events.sync(client=client, body=Ack(event_ids=[sent.id]), inbox="ledger").acknowledged))
print(len(get_event.sync(sent.id, client=client).deliveries))
"""


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(build_document()))
    return path


@pytest.mark.django_db(transaction=True)
def test_a_client_of_openapi_python_client_works(document: Path) -> None:
    generator = program("openapi-python-client")
    command = [generator, "generate", "--path", document.name, "--output-path", "generated", "--meta", "none"]
    made = subprocess.run(command, cwd=document.parent, capture_output=True, text=True, check=True)
    # One form of a batch is left out; nothing else.
    assert made.stdout.count("WARNING") == 1, made.stdout
    assert "Unsupported content type application/x-ndjson" in made.stdout
    (document.parent / "use.py").write_text(IN_PYTHON)
    # The generator's own environment has what its clients need.
    python = Path(generator).resolve().read_text().splitlines()[0].removeprefix("#!")
    with serve(workers=1) as server:
        sender = make_sender(server.base_url)
        used = subprocess.Popen(
            [python, "use.py", server.base_url, str(sender.client.key)],
            cwd=document.parent,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert used.stdout is not None
        lines = list(iter(used.stdout.readline, "processed, please\n"))
        process_outbox()
        lines += used.communicate("go on\n", timeout=60)[0].splitlines(keepends=True)
    assert lines[:2] == ["active\n", "/type\n"]
    assert lines[2].startswith("True ")
    assert lines[2].endswith(" None\n")
    assert lines[3].startswith("True ")
    assert lines[4:] == ["1\n", "2\n"]


def test_a_client_of_oapi_codegen_compiles(document: Path) -> None:
    generator, go = program("oapi-codegen"), program("go")
    folder = document.parent
    made = [generator, "-generate", "types,client", "-package", "evp", "-o", "evp.go", document.name]
    for command in (made, [go, "mod", "init", "evp"], [go, "mod", "tidy"], [go, "vet", "./..."]):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_client_of_openapi_generator_is_made(document: Path) -> None:
    jar = os.environ.get("OPENAPI_GENERATOR_JAR")
    if not jar:
        pytest.skip("OPENAPI_GENERATOR_JAR names no jar of openapi-generator-cli")
    command = [program("java"), "-jar", jar, "generate", "-i", document.name, "-g", "python", "-o", "generated"]
    made = subprocess.run(command, cwd=document.parent, capture_output=True, text=True, check=True)
    assert "ERROR" not in made.stdout + made.stderr
    subprocess.run([sys.executable, "-m", "compileall", "-q", "generated"], cwd=document.parent, check=True)


@pytest.mark.parametrize(
    ("name", "arguments", "settings"),
    [
        ("redocly", ("lint", "--max-problems", "1000"), ("redocly.yaml", "extends: [recommended]\n")),
        ("spectral", ("lint", "--fail-severity", "error"), (".spectral.yaml", 'extends: ["spectral:oas"]\n')),
    ],
)
def test_linters_find_no_error(
    document: Path, name: str, arguments: tuple[str, ...], settings: tuple[str, str]
) -> None:
    """Spectral warns of the scopes of each operation, which OpenAPI 3.1 allows for any kind of key (4.8.30)."""
    (document.parent / settings[0]).write_text(settings[1])
    command = [program(name), *arguments, document.name]
    done = subprocess.run(command, cwd=document.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
