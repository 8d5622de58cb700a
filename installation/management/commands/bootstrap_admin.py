"""Create the first administrator of a platform without a demo, once."""

import json
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.db import transaction
from django.db.models import Q

from installation.local.data_dir import write_private

USERNAME = "admin"


class Command(BaseCommand):
    help = "Create the first administrator, and write the password to a private file; do nothing if there is one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--file", type=Path, required=True, help="JSON file to write, mode 0600")

    # The file is written before the commit: a password that could not be kept must not count.
    @transaction.atomic
    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        # An administrator by another name is one too, and somebody else's `admin` must not become one.
        if User.objects.filter(Q(is_superuser=True) | Q(username=USERNAME)).exists():
            return
        password = secrets.token_urlsafe(12)
        User.objects.create_superuser(USERNAME, password=password)
        write_private(file, json.dumps({"admin_username": USERNAME, "admin_password": password}, indent=1))
