"""What stands under deploy/ and in compose.yaml, read once, and the commands by which `make run` starts the same."""

from pathlib import Path
from typing import Any

import yaml

from events_platform.up import programs
from events_platform.up.child import Program
from installation.local.data_dir import CHECKOUT

DEPLOY = CHECKOUT / "deploy"
KUBERNETES = sorted(set((DEPLOY / "kubernetes").glob("*.yaml")) - {DEPLOY / "kubernetes/kustomization.yaml"})
COMPOSE: dict[str, Any] = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())
DOCUMENTS: list[Any] = [document for file in KUBERNETES for document in yaml.safe_load_all(file.read_text())]
PROCESSES = ("web", "worker", "sender", "beat")
PUBLIC = "https://events.example.com"
KEY = "p7Vq-3ZtXw_9LbYc2RmKdf8HsJgN4eUa6TyWoQ1i"
MIGRATE = ["manage.py", "migrate", "--no-input"]
BACKUP = ["manage.py", "backup", "/backups", "--keep", "14"]


def program(name: str) -> Program:
    """How `make run` starts this one of the `PROCESSES`."""
    match name:
        case "web":
            return programs.web({})
        case "worker":
            return programs.worker({})
        case "sender":
            return programs.sender({})
        case _:
            return programs.beat({})


def essence(command: list[str] | tuple[str, ...]) -> list[str]:
    """A command from its module on, without the paths that differ from place to place."""
    words = list(command[command.index("-m") + 1 :])
    return [Path(word).name if word.endswith("gunicorn.conf.py") else word for word in words]
