"""`manage.py issue_key acme --name "Billing" --scope events:write`: prints the new key, once."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from organizations.audit import Actor
from organizations.keys.scopes import Scope
from organizations.models import Organization
from organizations.operations import issue_key


class Command(BaseCommand):
    help = "Issue an API key and print it. It is not shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("organization", help="the organization's slug")
        parser.add_argument("--name", default="Issued by manage.py")
        parser.add_argument("--scope", action="append", choices=list(Scope), help="repeat it; default: every scope")

    def handle(self, *args: Any, organization: str, name: str, scope: list[str] | None, **options: Any) -> None:
        found = Organization.objects.filter(slug=organization).first()
        if found is None:
            raise CommandError(f"There is no organization {organization!r}.")
        issued = issue_key(organization=found, name=name, scopes=scope or list(Scope), actor=Actor.system("manage.py"))
        self.stdout.write(issued.plaintext)
