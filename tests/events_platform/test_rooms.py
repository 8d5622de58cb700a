"""The rooms of the code: which there are, how full they are, and which of their modules are pure."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from installation.local.data_dir import CHECKOUT
from tests.support.memory import FORGETTING
from tests.support.rooms import LINTER, ROOMS

_CONTRACTS = {contract["name"]: contract for contract in LINTER["contracts"]}
_PURE: list[str] = _CONTRACTS["Pure modules know neither Django nor the REST framework"]["source_modules"]
# A folder is read at a glance up to so many files.
_MOST_FILES = 16
_NO_ROOMS = {"benchmarks", "scripts", "tests"}


def files_of(room: str) -> list[Path]:
    return [path for path in (CHECKOUT / room).rglob("*.py") if "migrations" not in path.parts]


def test_every_package_is_a_room() -> None:
    packages = {path.parent.name for path in CHECKOUT.glob("*/__init__.py")}
    assert packages - _NO_ROOMS == set(ROOMS)
    assert _CONTRACTS["Rooms import one way"]["layers"] == ROOMS


@pytest.mark.parametrize("room", [*ROOMS, "tests"])
def test_no_folder_is_too_full(room: str) -> None:
    folders = Counter(path.parent for path in files_of(room))
    assert {str(path.relative_to(CHECKOUT)): count for path, count in folders.items() if count > _MOST_FILES} == {}


@pytest.mark.parametrize("module", _PURE)
def test_a_pure_module_needs_nothing(module: str) -> None:
    """No setting, no Django, no REST framework: whoever reads it need know none of them."""
    program = f"import sys, {module}; print(*sorted({{'django', 'rest_framework'}} & sys.modules.keys()))"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, env={}, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, "", "")


def test_what_says_that_it_is_pure_is_held_to_it() -> None:
    said = set()
    for room in ROOMS:
        for path in files_of(room):
            words = ast.get_docstring(ast.parse(path.read_text())) or ""
            if "Pure" in words.replace(",", " ").replace(".", " ").split():
                said.add(".".join(path.relative_to(CHECKOUT).with_suffix("").parts))
    assert said
    assert said <= set(_PURE)


def test_what_a_module_remembers_is_forgotten_after_each_test() -> None:
    """Such a module has a function `forget_…()` without arguments, at its top."""
    found = {
        f"{'.'.join(path.relative_to(CHECKOUT).with_suffix('').parts)}.{node.name}"
        for room in ROOMS
        for path in files_of(room)
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("forget_") and not ast.unparse(node.args)
    }
    assert found == {f"{forget_one.__module__}.{forget_one.__name__}" for forget_one in FORGETTING}


def test_names_of_test_files_are_unique() -> None:
    """The documentation names a test by its file, without the folder."""
    names = Counter(path.name for path in (CHECKOUT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_no_test_module_imports_another() -> None:
    """What several share is in tests/support/ and tests/factories.py."""
    tests = (CHECKOUT / "tests").rglob("test_*.py")
    modules = {".".join(path.relative_to(CHECKOUT).with_suffix("").parts) for path in tests}
    found = [
        f"{path.relative_to(CHECKOUT)}:{node.lineno}"
        for path in files_of("tests")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom) and modules & _names_in(node)
    ]
    assert found == []


def _names_in(node: ast.Import | ast.ImportFrom) -> set[str]:
    """The modules that it imports, and what could be modules."""
    names = {alias.name for alias in node.names}
    if isinstance(node, ast.Import):
        return names
    return {str(node.module), *(f"{node.module}.{name}" for name in names)}
