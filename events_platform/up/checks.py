"""What is looked at before and after the start."""

import errno
import http.client
import importlib
import os
import shutil
import socket
from collections.abc import Mapping

from django.core.exceptions import ImproperlyConfigured
from environs import EnvError

from events_platform.up.configuration import SETTINGS_MODULE, Configuration
from installation.local.errors import UpError, setting_error

# A segment of PostgreSQL's log of writes takes so much.
_FULL_BYTES = 16 * 2**20


def check_settings(environment: Mapping[str, str]) -> None:
    """Read Django's settings once, so that a bad one is reported before anything starts."""
    os.environ.update(environment)
    try:
        importlib.import_module(SETTINGS_MODULE)
    except (EnvError, ImproperlyConfigured) as error:
        raise setting_error(error) from error


def check_port(configuration: Configuration) -> None:
    """Refuse an address that the web server could not bind."""
    host, port = configuration.host, configuration.port
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            # As the web server does: connections of an earlier run that linger in TIME_WAIT do not matter.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UpError(f"Port {port} is in use; set PORT=… to another one.") from error
        raise UpError(f"Cannot listen on {host}:{port} ({error.strerror}); set HOST and PORT.") from error


def is_live(configuration: Configuration) -> bool:
    """Does `GET /health/live` answer 200?"""
    connection = http.client.HTTPConnection(configuration.callable_host, configuration.port, timeout=5)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def about_full_disk(configuration: Configuration | None, failure: str) -> list[str]:
    """A line about the disk of the data folder when it is full, which the servers say in many ways, or not at all."""
    if configuration is None or not configuration.data.root.is_dir():
        return []
    root = configuration.data.root
    if shutil.disk_usage(root).free > _FULL_BYTES and os.strerror(errno.ENOSPC) not in failure:
        return []
    return [
        f"The disk of {root} is full: free some space there, or set EVENTS_DATA_DIR to another one, and start again."
    ]
