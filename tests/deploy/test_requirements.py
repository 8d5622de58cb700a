"""The requirements files hold what every Python and platform needs that the platform runs on.

pip with hashes refuses a package that has no pin, and a pin that needs another Python: both only where it happens.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from installation.local.data_dir import CHECKOUT

# The oldest, Debian 12's, the first that needs no async-timeout, and the newer ones.
PYTHONS = ("3.11.0", "3.11.2", "3.11.3", "3.11.5", "3.12.0", "3.13.0", "3.14.0")
PLATFORMS = (("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64"))
FILES = ("requirements", "requirements-otel", "requirements-dev")
Environment = dict[str, str]


def environments() -> Iterator[Environment]:
    """What markers can ask for, as `packaging` names it."""
    for python in PYTHONS:
        for sys_platform, system, machine in PLATFORMS:
            yield {
                **{name: str(value) for name, value in default_environment().items()},
                "python_version": python.rpartition(".")[0],
                "python_full_version": python,
                "implementation_version": python,
                "sys_platform": sys_platform,
                "platform_system": system,
                "platform_machine": machine,
            }


def wanted(name: str) -> list[Requirement]:
    """What an `.in` file asks for, with the files that it names by `-r`."""
    found = []
    for line in (CHECKOUT / name).read_text().splitlines():
        if line.startswith("-r "):
            found += wanted(line.removeprefix("-r "))
        elif line.strip() and not line.startswith(("#", "-c ")):
            found.append(Requirement(line))
    return found


def pins(name: str, environment: Environment) -> dict[str, str]:
    """The packages that pip takes from a `.txt` file there: name → version."""
    pinned = [requirement for requirement in pinned_lines(name) if applies(requirement, environment)]
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in pinned}


@cache
def pinned_lines(name: str) -> list[Requirement]:
    lines = re.findall(r"^[A-Za-z0-9][^\\\n]*", (CHECKOUT / name).read_text(), re.MULTILINE)
    return [Requirement(line) for line in lines]


def applies(requirement: Requirement, environment: Environment, *, extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra})


def needed(requirements: list[Requirement], environment: Environment) -> set[str]:
    """All packages, by the metadata of those that are installed here; one that is not installed ends its branch."""
    seen: set[tuple[str, str]] = set()
    waiting = [each for each in requirements if applies(each, environment)]
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *requirement.extras):
            step = (canonicalize_name(requirement.name), extra)
            if step not in seen:
                seen.add(step)
                waiting += depends_on(requirement.name, extra, environment)
    return {name for name, _ in seen}


def depends_on(name: str, extra: str, environment: Environment) -> list[Requirement]:
    return [each for each in requires(name) if applies(each, environment, extra=extra)]


@cache
def requires(name: str) -> list[Requirement]:
    found = metadata_of(name)
    return [Requirement(each) for each in (found.get_all("Requires-Dist") if found else None) or []]


@cache
def metadata_of(name: str) -> PackageMetadata | None:
    """None: not installed."""
    try:
        return metadata(name)
    except PackageNotFoundError:
        return None


@cache
def pythons_of(name: str, version: str) -> SpecifierSet:
    """Those that a version says it runs on; all when another version is installed here, whose word does not count."""
    found = metadata_of(name)
    return SpecifierSet(found["Requires-Python"] or "" if found and found["Version"] == version else "")


@pytest.mark.parametrize("name", FILES)
def test_every_package_that_a_supported_python_needs_has_a_pin(name: str) -> None:
    missing = {
        f"{package}, for Python {environment['python_full_version']} on {environment['sys_platform']}"
        for environment in environments()
        for package in needed(wanted(f"{name}.in"), environment) - pins(f"{name}.txt", environment).keys()
    }
    assert not missing


@pytest.mark.parametrize("name", FILES)
def test_every_pin_can_be_installed_on_the_pythons_that_get_it(name: str) -> None:
    refused = {
        f"{package} {version}, on Python {environment['python_full_version']}"
        for environment in environments()
        for package, version in pins(f"{name}.txt", environment).items()
        if environment["python_full_version"] not in pythons_of(package, version)
    }
    assert not refused


@pytest.mark.parametrize("name", FILES)
def test_the_files_name_no_index_and_no_folder(name: str) -> None:
    lines = (CHECKOUT / f"{name}.txt").read_text().splitlines()
    # A requirement, one of its hashes, or a comment: an option such as `--index-url` would begin its line.
    assert [line for line in lines if line.startswith("-") or "://" in line or "find-links" in line] == []
