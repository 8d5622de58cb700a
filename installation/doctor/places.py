"""Where a server is: on this machine, or even the platform's own."""

import os
from ipaddress import ip_address
from pathlib import Path

from django.db import connection

from installation.local.data_dir import DataDir
from installation.local.sockets import socket_root


def is_embedded_postgresql() -> bool:
    """Whether it is the one that `make run` starts, on a private Unix socket and nowhere else."""
    host = connection.settings_dict["HOST"]
    if not host.startswith("/"):
        return False
    return Path(host).is_relative_to(socket_root(DataDir.from_environment(os.environ).root))


def is_here(host: str) -> bool:
    """Whether a host of a URL is this machine; a path or nothing is a Unix socket."""
    if not host or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
