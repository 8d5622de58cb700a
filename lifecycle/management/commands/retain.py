"""`manage.py retain`: the name that `apply_retention` had until version 0.3."""

from lifecycle.management.commands import apply_retention


class Command(apply_retention.Command):
    help = "The old name of apply_retention."
