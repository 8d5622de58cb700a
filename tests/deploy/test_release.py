"""The workflow that makes a release: its own scripts, run as they stand there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from installation.local.data_dir import CHECKOUT

WORKFLOWS = sorted((CHECKOUT / ".github/workflows").glob("*.yml"))
RELEASE: dict[str, Any] = yaml.safe_load((CHECKOUT / ".github/workflows/release.yml").read_text())
CHANGELOG = "# Changelog\n\n## Unreleased\n\n- Later.\n\n## 1.2.0 – 2026-12-01\n\n- This.\n\n## 1.1.0\n\n- Before.\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    (tmp_path / "core").mkdir()
    (tmp_path / "core/version.py").write_text('"""Which."""\n\nVERSION = "1.2.0"\n')
    return tmp_path


def run_step(job: str, name: str, folder: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    """As the runner runs it."""
    (script,) = [step["run"] for step in RELEASE["jobs"][job]["steps"] if step.get("name") == name]
    environ = {"PATH": os.environ["PATH"], "GITHUB_OUTPUT": str(folder / "output"), **environ}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def outputs(folder: Path) -> str:
    return (folder / "output").read_text()


def check_version(folder: Path, tag: str) -> "subprocess.CompletedProcess[str]":
    name = "The tag is the version of the code, and the changelog tells of it"
    return run_step("version", name, folder, GITHUB_REF_NAME=tag, GITHUB_REPOSITORY="Acme/Events")


def test_a_tag_that_fits_the_code_and_the_changelog_is_taken(checkout: Path) -> None:
    done = check_version(checkout, "v1.2.0")
    assert done.returncode == 0, done.stderr
    assert outputs(checkout) == "version=1.2.0\nrepository=acme/events\n"


def test_a_tag_of_another_version_is_refused(checkout: Path) -> None:
    done = check_version(checkout, "v1.2.1")
    assert (done.returncode, "version.py says 1.2.0" in done.stderr) == (1, True)


def test_a_version_without_a_changelog_is_refused(checkout: Path) -> None:
    (checkout / "CHANGELOG.md").write_text(CHANGELOG.replace("1.2.0", "1.2.01"))
    done = check_version(checkout, "v1.2.0")
    assert (done.returncode, "no section '## 1.2.0'" in done.stderr) == (1, True)


def test_the_notes_are_the_section_of_the_version(checkout: Path) -> None:
    done = run_step("release", "What changed", checkout, VERSION="1.2.0")
    assert done.returncode == 0, done.stderr
    assert (checkout / "notes.md").read_text().strip() == "- This."


@pytest.mark.parametrize(("version", "tags"), [("1.2.0", ["1.2.0", "1.2", "latest"]), ("1.2.0-rc1", ["1.2.0-rc1"])])
def test_only_a_full_release_moves_the_tags_that_move(version: str, tags: list[str], tmp_path: Path) -> None:
    done = run_step("images", "The tags of the image", tmp_path, VERSION=version, IMAGE="registry/image")
    assert done.returncode == 0, done.stderr
    expected = "".join(f"registry/image:{tag}\n" for tag in tags)
    assert outputs(tmp_path) == f"tags<<END\n{expected}END\n"


def test_actions_are_pinned_to_a_commit() -> None:
    used = [use for file in WORKFLOWS for use in re.findall(r"uses: (.*)", file.read_text())]
    assert used
    assert [use for use in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)] == []


@pytest.mark.long
def test_the_list_of_parts_that_is_published_is_that_of_the_lock_file(tmp_path: Path) -> None:
    """By the step's own command; it puts the list where `Publish the release` takes its files from."""
    (script,) = [step["run"] for step in RELEASE["jobs"]["release"]["steps"] if "CycloneDX" in step.get("name", "")]
    command = script.replace("\\\n", " ").splitlines()[-1].split()
    program, file = Path(sys.executable).with_name("cyclonedx-py"), tmp_path / "parts.json"
    assert (command[0], command[-1]) == (".venv/bin/cyclonedx-py", '"dist/events-platform-$VERSION.cdx.json"')
    subprocess.run([program, *command[1:-1], file], cwd=CHECKOUT, check=True)
    locked = re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==(\S+)", (CHECKOUT / "requirements.txt").read_text(), re.MULTILINE)
    parts = json.loads(file.read_text())["components"]
    assert {(part["name"], part["version"]) for part in parts} == set(locked)
    assert [step for step in RELEASE["jobs"]["release"]["steps"] if "dist/*" in step.get("run", "")]


def test_no_step_keeps_the_credentials_and_no_job_has_a_right_that_it_does_not_name() -> None:
    for file in WORKFLOWS:
        workflow = yaml.safe_load(file.read_text())
        assert workflow["permissions"] in ({}, {"contents": "read"}), file.name
        for job in workflow["jobs"].values():
            for step in job["steps"]:
                if step.get("uses", "").startswith("actions/checkout@"):
                    assert step["with"]["persist-credentials"] is False, file.name


def test_the_images_are_those_of_the_dockerfile() -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)", (CHECKOUT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    targets = [image["target"] for image in RELEASE["jobs"]["images"]["strategy"]["matrix"]["include"]]
    assert set(targets) <= set(stages)
