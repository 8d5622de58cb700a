"""`manage.py erase_organization acme`: an organization leaves with everything it has."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lifecycle.asking import confirm
from lifecycle.erasing.organization import start_organization_erasure
from lifecycle.erasing.progress import work_until_over
from lifecycle.models import Erasure
from lifecycle.organization_names import find_organization
from organizations.audit import Actor
from organizations.jobs.models import JobStatus


class Command(BaseCommand):
    help = "Erase an organization with everything it has. Accounts of people stay. Nothing of this can be taken back."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("organization", help="slug or id")
        parser.add_argument("--yes", action="store_true", help="do not ask for the slug again")

    def handle(self, *_args: Any, organization: str, yes: bool, **_options: Any) -> None:
        found = find_organization(organization)
        if not yes:
            question = f"Everything of {found} will be gone. Type {found.slug} to go on: "
            confirm(question, answer=found.slug, otherwise="Nothing was erased.")
        started = start_organization_erasure(organization=found, actor=Actor.system("manage.py"))
        finish(self, work_until_over(started))


def finish(command: BaseCommand, erasure: Erasure) -> None:
    """Tell what was removed; a CommandError when it failed."""
    for what, count in erasure.removed.items():
        command.stdout.write(f"{count:>10} {what}")
    if erasure.status == JobStatus.FAILED:
        raise CommandError(f"The {erasure} failed: see the log.")
    command.stdout.write("Done.")
