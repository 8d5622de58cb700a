"""How tests run the clients: with a platform's address and key, and the TypeScript one built once."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from installation.local.data_dir import CHECKOUT
from rest.openapi.document import build_document
from tests.support.machines.platforms import Platform

PYTHON_CLIENT = CHECKOUT / "clients/python"
TYPESCRIPT_CLIENT = CHECKOUT / "clients/typescript"
_OLDEST_NODE = (20, 3)


def environment(platform: Platform) -> dict[str, str]:
    """For programs that use a client; an installed one is found by itself."""
    demo = platform.demo()
    wanted = {"EVP_URL": demo["base_url"], "EVP_API_KEY": demo["api_key"], "PYTHONPATH": str(PYTHON_CLIENT / "src")}
    return {**{name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}, **wanted}


def build_typescript_client(package: Path) -> Path:
    """The built package, with each example of its README as `examples/<number>.js`; skips where it cannot be built."""
    if _node_version() < _OLDEST_NODE:
        pytest.skip("needs npm and Node.js 20.3 or newer")
    built = package / "built"
    if built.exists():
        return package
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(TYPESCRIPT_CLIENT, package, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (package / "openapi.json").write_text(json.dumps(build_document()))
    installed = _run(package, "npm", "ci", "--no-audit", "--no-fund", "--prefer-offline")
    if installed.returncode:
        pytest.skip(f"npm could not install what builds it: {installed.stderr[-200:]}")
    _write_examples(package / "examples")
    for command in (("npm", "run", "build"), ("npx", "tsc", "--project", "examples")):
        done = _run(package, *command)
        assert done.returncode == 0, done.stdout + done.stderr
    built.touch()
    return package


def _write_examples(examples: Path) -> None:
    examples.mkdir()
    readme = (TYPESCRIPT_CLIENT / "README.md").read_text()
    for number, text in enumerate(re.findall(r"^```ts\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)):
        (examples / f"{number}.ts").write_text(text)
    # The types of Node.js and of the DOM were checked with the package.
    options = {"rootDir": ".", "outDir": ".", "declaration": False, "sourceMap": False, "skipLibCheck": True}
    config = {"extends": "../tsconfig.json", "compilerOptions": options, "include": ["*.ts"], "exclude": []}
    (examples / "tsconfig.json").write_text(json.dumps(config))


def _node_version() -> tuple[int, ...]:
    if not (shutil.which("node") and shutil.which("npm")):
        return ()
    found = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, found.strip().removeprefix("v").split(".")))


def _run(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
