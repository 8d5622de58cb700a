"""Clients that public generators make of the platform's document: made, compiled and used, where the generators are.

`scripts/install_generators` installs them, as `.ci/run` does. The programs that use the clients say all the same.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ingestion.operations import process_outbox
from installation.local.data_dir import CHECKOUT
from rest.openapi.document import build_document
from tests.support.http.clients import make_sender
from tests.support.servers import serve

pytestmark = pytest.mark.slow

PROGRAMS = CHECKOUT / "tests/clients/generators"
SECONDS = 300
SAID = ["active", "/type", "True True", "True 12900", "1", "1"]
# One form of a batch is left out by openapi-python-client; nothing else.
LEFT_OUT = "Unsupported content type application/x-ndjson"
COMPILING = {
    "strict": True,
    "exactOptionalPropertyTypes": True,
    "noUncheckedIndexedAccess": True,
    "target": "es2022",
    "module": "nodenext",
    "types": ["node"],
}
# OpenAPI 3.1 allows scopes for any kind of key (4.8.30); Spectral's rule knows but those of OAuth 2.
SPECTRAL = 'extends: ["spectral:oas"]\nrules:\n  oas3-operation-security-defined: off\n'


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; scripts/install_generators does it")
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With `openapi.json`, as `/api/schema` shows it."""
    (tmp_path / "openapi.json").write_text(json.dumps(build_document()))
    return tmp_path


def run(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def used(folder: Path, *command: str) -> list[str]:
    """What a program says that is told where the platform is, and when its event was processed."""
    with serve(workers=1) as server:
        sender = make_sender(server.base_url)
        process = subprocess.Popen(
            [*command, server.base_url, str(sender.client.key)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        lines = []
        while (line := process.stdout.readline()) not in ("processed, please\n", ""):
            lines.append(line)
        process_outbox()
        rest, errors = process.communicate("go on\n", timeout=SECONDS)
        assert process.returncode == 0, errors
    return [*(line.rstrip("\n") for line in lines), *rest.splitlines()]


def python_of(generator: str) -> str:
    """Of the generator's own environment, which has what its clients need."""
    return Path(generator).resolve().read_text().splitlines()[0].removeprefix("#!")


@pytest.mark.django_db(transaction=True)
def test_a_client_of_openapi_python_client_works(folder: Path) -> None:
    generator = program("openapi-python-client")
    made = run(folder, generator, "generate", "--path", "openapi.json", "--output-path", "generated", "--meta", "none")
    assert (made.stderr.count("WARNING"), LEFT_OUT in made.stderr) == (1, True), made.stderr
    assert used(folder, python_of(generator), str(PROGRAMS / "use_openapi_python_client.py")) == SAID


@pytest.mark.django_db(transaction=True)
def test_a_client_of_openapi_generator_works(folder: Path) -> None:
    generator = program("openapi-generator-cli")
    made = run(folder, generator, "generate", "-i", "openapi.json", "-g", "python", "-o", ".")
    assert (folder / "openapi_client").is_dir(), made.stdout + made.stderr
    assert "ERROR" not in made.stdout + made.stderr
    run(folder, sys.executable, "-m", "compileall", "-q", "openapi_client")
    assert used(folder, python_of(generator), str(PROGRAMS / "use_openapi_generator.py")) == SAID


@pytest.mark.django_db(transaction=True)
def test_a_client_of_openapi_typescript_works(folder: Path) -> None:
    generator, compiler, node = map(program, ("openapi-typescript", "tsc", "node"))
    # The packages that it imports are found from where the program lies.
    (folder / "node_modules").symlink_to(Path(generator).resolve().parents[2])
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": COMPILING, "include": ["*.ts"]}))
    shutil.copy(PROGRAMS / "use_openapi_typescript.ts", folder)
    run(folder, generator, "openapi.json", "--output", "schema.ts")
    run(folder, compiler, "--project", ".")
    assert used(folder, node, "use_openapi_typescript.js") == SAID


@pytest.mark.django_db(transaction=True)
def test_a_client_of_oapi_codegen_works(folder: Path) -> None:
    generator, go = program("oapi-codegen"), program("go")
    for name in ("go.mod", "go.sum", "main.go"):
        shutil.copy(PROGRAMS / name, folder)
    (folder / "evp").mkdir()
    run(folder, generator, "-generate", "types,client", "-package", "evp", "-o", "evp/evp.go", "openapi.json")
    for command in (("vet", "./..."), ("build", "-o", "client", ".")):
        run(folder, go, *command)
    assert used(folder, str(folder / "client")) == SAID


@pytest.mark.parametrize(
    ("name", "arguments", "settings", "clean"),
    [
        ("redocly", ("lint", "--max-problems=1000"), ("redocly.yaml", "extends: [recommended]\n"), "is valid."),
        ("spectral", ("lint", "--fail-severity=hint"), (".spectral.yaml", SPECTRAL), "No results"),
    ],
)
def test_linters_find_nothing(
    folder: Path, name: str, arguments: Sequence[str], settings: tuple[str, str], clean: str
) -> None:
    linter = program(name)
    (folder / settings[0]).write_text(settings[1])
    done = run(folder, linter, *arguments, "openapi.json")
    told = done.stdout + done.stderr
    assert clean in told, told
    assert "Warning was generated" not in told, told
