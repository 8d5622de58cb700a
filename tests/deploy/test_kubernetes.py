"""The manifests fit their schemas, start what `make run` starts, and hold no example that would be taken."""

import re
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from core.environment import SECRETS, refuse_unsafe
from installation.local.data_dir import CHECKOUT
from tests.support.deployment import BACKUP, DOCUMENTS, KEY, KUBERNETES, MIGRATE, PROCESSES, essence, program

EVERY_POD = {"matchLabels": {"app": "events-platform"}}


def pod_templates() -> dict[str, Any]:
    """The pods of every manifest, by the name of what makes them."""
    found = {}
    for document in DOCUMENTS:
        spec = document.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            found[document["metadata"]["name"]] = template["spec"]
    return found


PODS = pod_templates()


def container(name: str) -> Any:
    (found,) = PODS[f"events-{name}"]["containers"]
    return found


@pytest.mark.parametrize("name", PROCESSES)
def test_each_deployment_starts_its_process_as_make_run_starts_it(name: str) -> None:
    assert essence(container(name)["command"]) == essence(program(name).command)


@pytest.mark.parametrize("name", PROCESSES)
def test_no_pod_is_killed_before_its_time_to_stop_is_over(name: str) -> None:
    assert PODS[f"events-{name}"]["terminationGracePeriodSeconds"] >= program(name).stop_seconds


def test_jobs_migrate_and_back_up_by_the_commands_of_the_documents() -> None:
    assert container("migrate")["command"][1:] == MIGRATE
    assert container("backup")["command"][1:] == BACKUP
    assert container("restore")["command"][1:] == ["manage.py", "restore", "/backups"]


def test_the_manifests_fit_their_schemas() -> None:
    program = Path(sys.executable).with_name("kubernetes-validate")
    done = subprocess.run([program, "--strict", "--quiet", *KUBERNETES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pods_have_no_rights_they_do_not_need() -> None:
    assert {name.removeprefix("events-") for name in PODS} == {*PROCESSES, "migrate", "backup", "restore"}
    for name, pod in PODS.items():
        (found,) = pod["containers"]
        assert found["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert (pod["securityContext"]["runAsNonRoot"], pod["automountServiceAccountToken"]) == (True, False), name


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    ],
)
def test_no_pod_reaches_the_credentials_that_a_cloud_gives_its_machines(address: str) -> None:
    (policy,) = (
        one
        for one in DOCUMENTS
        if one["metadata"]["name"] == "events-platform" and "podSelector" in one.get("spec", {})
    )
    assert (policy["spec"]["podSelector"], "Egress" in policy["spec"]["policyTypes"]) == (EVERY_POD, True)
    assert [one for one in DOCUMENTS if one["kind"] == "NetworkPolicy" and "egress" in one["spec"]] == [policy]
    (rule,) = policy["spec"]["egress"]
    blocks = [to["ipBlock"] for to in rule["to"] if "ipBlock" in to]
    allowed = [one for one in blocks if ip_address(address) in ip_network(one["cidr"])]
    assert allowed
    assert all(any(ip_address(address) in ip_network(denied) for denied in one["except"]) for one in allowed)


def test_all_pods_have_one_image_with_a_version() -> None:
    (image,) = {container["image"] for pod in PODS.values() for container in pod["containers"]}
    assert re.search(r":\d+\.\d+", image)


def test_the_web_servers_listen_where_the_image_does() -> None:
    (port,) = re.findall(r"^EXPOSE (\d+)", (CHECKOUT / "deploy/Dockerfile").read_text(), re.MULTILINE)
    assert container("web")["ports"] == [{"name": "http", "containerPort": int(port)}]


def test_the_manifests_set_only_settings_that_are_documented() -> None:
    documented = (CHECKOUT / "docs/settings.md").read_text()
    configuration = next(document for document in DOCUMENTS if document["kind"] == "ConfigMap")
    used = {*configuration["data"]}
    used |= {variable["name"] for name in PROCESSES for variable in container(name).get("env", [])}
    assert [name for name in used if f"`{name}`" not in documented] == []


def test_the_example_secrets_are_refused() -> None:
    """Each by itself: with all the others of one's own, none of them starts the platform."""
    secret = next(document for document in DOCUMENTS if document["kind"] == "Secret")["stringData"]
    # The fallbacks are for a change of the key: there is none at first.
    assert {name.upper() for name in secret} == set(SECRETS) - {"SECRET_KEY_FALLBACKS"}
    good = {**dict.fromkeys(SECRETS, ""), "SECRET_KEY": KEY}
    for name in set(SECRETS) - {"FIELD_ENCRYPTION_KEYS", "SECRET_KEY_FALLBACKS"}:
        with pytest.raises(ImproperlyConfigured, match=f"{name} still holds the placeholder"):
            refuse_unsafe(debug=False, secrets={**good, name: secret[name.lower()]})
    with pytest.raises(ValueError, match="Fernet key"):
        Fernet(secret["field_encryption_keys"])
