"""The Helm chart makes the objects of deploy/kubernetes, and refuses values that would not work."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.deployment import DEPLOY, DOCUMENTS, PUBLIC

CHART = DEPLOY / "helm/events-platform"
# Any older one is refused by the chart.
OLDEST = "1.30.0"
# What Helm adds to the objects, and wants to find them by.
ADDED = ("app.kubernetes.io/", "helm.sh/", "checksum/", "imagePullPolicy")
ALL_OTHERWISE = (
    "ingress.enabled=true,networkPolicy.enabled=false,backup.existingClaim=nas,settings.LOG_LEVEL=DEBUG,"
    "imagePullSecrets[0].name=registry,nodeSelector.disk=ssd,podAnnotations.team=events,sender.replicas=3"
)

pytestmark = pytest.mark.skipif(shutil.which("helm") is None, reason="helm is not installed")


def helm(command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    kubernetes = ["--kube-version", OLDEST]
    return subprocess.run(["helm", command, *kubernetes, *arguments], capture_output=True, text=True, check=False)


def template(*values: str) -> "subprocess.CompletedProcess[str]":
    settings = (word for value in values for word in ("--set", value))
    return helm("template", "events", str(CHART), "--set", f"publicUrl={PUBLIC}", *settings)


def rendered(*values: str) -> list[Any]:
    done = template(*values)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def comparable(value: Any) -> Any:
    """Without what Helm adds, and without mappings that held nothing else."""
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: comparable(item) for key, item in value.items() if not key.startswith(ADDED)}
    return {key: item for key, item in kept.items() if item != {} or value[key] == {}}


def by_name(documents: list[Any]) -> dict[tuple[str, str], Any]:
    return {(one["kind"], one["metadata"]["name"]): comparable(one) for one in documents}


def test_the_chart_makes_the_objects_of_the_manifests() -> None:
    chart = by_name(rendered("image.tag=1.0.0", "ingress.enabled=true"))
    manifests = by_name(DOCUMENTS)
    # The operator makes the Secret and a restore, with either.
    del manifests["Secret", "events-platform"], manifests["Job", "events-restore"]
    # The migration runs before the settings of the new version are there.
    assert chart.pop(("ConfigMap", "events-migrate"))["data"] == chart["ConfigMap", "events-platform"]["data"]
    (container,) = chart["Job", "events-migrate"]["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": "events-migrate"}}]
    container["envFrom"] = [{"configMapRef": {"name": "events-platform"}}]
    assert chart == manifests


def test_the_migration_comes_first_and_backups_outlive_the_release() -> None:
    annotations = {(one["kind"], one["metadata"]["name"]): one["metadata"].get("annotations", {}) for one in rendered()}
    for name in (("ConfigMap", "events-migrate"), ("Job", "events-migrate")):
        assert annotations[name]["helm.sh/hook"] == "pre-install,pre-upgrade"
    weights = [int(annotations[kind, "events-migrate"]["helm.sh/hook-weight"]) for kind in ("ConfigMap", "Job")]
    assert weights == sorted(set(weights))
    assert annotations["PersistentVolumeClaim", "events-backups"]["helm.sh/resource-policy"] == "keep"


def test_helm_finds_no_fault() -> None:
    done = helm("lint", "--strict", "--set", f"publicUrl={PUBLIC}", str(CHART))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("values", ["", ALL_OTHERWISE], ids=["defaults", "all otherwise"])
def test_what_is_made_fits_the_schemas_of_kubernetes(values: str, tmp_path: Path) -> None:
    file = tmp_path / "rendered.yaml"
    file.write_text(yaml.safe_dump_all(rendered(*filter(None, [values]))))
    checker = Path(sys.executable).with_name("kubernetes-validate")
    done = subprocess.run([checker, "--strict", "--quiet", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_changed_setting_replaces_the_pods() -> None:
    def checksum(*values: str) -> str:
        pod = next(one for one in rendered(*values) if one["metadata"]["name"] == "events-beat")["spec"]["template"]
        return str(pod["metadata"]["annotations"]["checksum/settings"])

    assert checksum() == checksum("sender.replicas=5") != checksum("settings.LOG_LEVEL=DEBUG")


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("publicUrl=http://events.example.com", "/publicUrl"),
        ("publicUrl=", "/publicUrl"),
        ("settings.SECRET_KEY=x", "SECRET_KEY"),
        ("settings.log_level=x", "log_level"),
        ("workers.replicas=3", "workers"),
        ("sender.replicas=0", "/sender/replicas"),
        ("backup.size=20", "/backup/size"),
    ],
)
def test_a_value_that_would_not_work_is_refused_by_its_name(value: str, named: str) -> None:
    done = template(value)
    assert done.returncode != 0
    assert named in done.stderr


def test_every_value_is_described() -> None:
    described = set(re.findall(r"`([\w.]+)`", (CHART / "README.md").read_text()))
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    names = {f"{name}.{inner}" for name, value in values.items() if isinstance(value, dict) for inner in value}
    names |= {name for name, value in values.items() if not isinstance(value, dict) or not value}
    assert sorted(names - described) == []
