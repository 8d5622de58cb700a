"""`manage.py create_organization acme --name "Acme" --plan pro`."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError

from organizations.audit import Actor
from organizations.operations import create_organization
from organizations.plans import Plan


class Command(BaseCommand):
    help = "Create an organization."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("--name", help="defaults to the slug")
        parser.add_argument("--plan", choices=Plan.values, default=Plan.FREE)

    def handle(self, *args: Any, slug: str, name: str | None, plan: str, **options: Any) -> None:
        try:
            create_organization(name=name or slug, slug=slug, plan=plan, actor=Actor.system("manage.py"))
        except IntegrityError as error:
            raise CommandError(f"There is an organization {slug!r} already.") from error
        self.stdout.write(f"Created the organization {slug}.")
