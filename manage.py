#!/usr/bin/env python
"""Django's command line, and `up`, which runs the whole platform."""

import os
import sys


def main() -> int:
    """Run the command named by the arguments; returns its exit status."""
    if sys.version_info < (3, 11):  # noqa: UP036 - it is there for the Pythons that the project does not support
        sys.stderr.write("This Python is too old: use 3.11 or newer.\n")
        return 2
    if sys.argv[1:2] == ["up"]:
        # Before Django: the command starts the database that the settings name.
        from events_platform.up.supervisor import main as up

        return up(sys.argv[2:])
    return run_django()


def run_django() -> int:
    """Run one of Django's commands, on the platform that runs here unless the environment names another one."""
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import DatabaseError, InterfaceError
    from environs import EnvError

    from core.postgresql.descriptions import describe_for_people
    from events_platform.up.configuration import SETTINGS_MODULE, adopt_environment
    from installation.local.errors import UpError, setting_error
    from observability.logs import redact
    from observability.metrics.folder import set_folder_aside

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", SETTINGS_MODULE)
    # Commands come and go: nobody reads their numbers.
    set_folder_aside()
    os.environ.pop("METRICS_PORT", None)
    try:
        try:
            adopt_environment(os.environ)
            _ = settings.INSTALLED_APPS
            execute_from_command_line(sys.argv)
        except (EnvError, ImproperlyConfigured) as error:
            raise setting_error(error) from error
        except (DatabaseError, InterfaceError) as error:
            if "--traceback" in sys.argv or (message := describe_for_people(error)) is None:
                raise
            if sys.argv[1:2] == ["migrate"]:
                sys.stdout.write("\n")  # it has begun a line that tells what it applies
            raise UpError(redact(message)) from error
    except UpError as error:
        if sys.argv[1:2] == ["doctor"] and "--json" in sys.argv:
            say_as_json(str(error))
        else:
            sys.stderr.write(f"{error}\n")
        return error.status
    return 0


def say_as_json(message: str) -> None:
    """A setting that stops the start, in the form of the other findings of `doctor --json`."""
    import json

    from installation.doctor.reporting import bad_setting

    sys.stdout.write(f"{json.dumps(bad_setting(message), indent=1)}\n")


if __name__ == "__main__":
    sys.exit(main())
