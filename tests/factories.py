"""Rows for tests."""

from typing import Any

from django.contrib.auth.models import User
from factory.declarations import Sequence
from factory.django import DjangoModelFactory

from organizations.audit import Actor
from organizations.keys.scopes import Scope
from organizations.models import ApiKey, Organization
from organizations.operations import issue_key

TESTER = Actor.system("tests")


class OrganizationFactory(DjangoModelFactory[Organization]):
    class Meta:
        model = Organization

    name = Sequence(lambda number: f"Organization {number}")
    slug = Sequence(lambda number: f"organization-{number}")


class UserFactory(DjangoModelFactory[User]):
    class Meta:
        model = User

    username = Sequence(lambda number: f"user-{number}")


def make_organization(**values: Any) -> Organization:
    """A new organization, on the plan `free` unless `values` say otherwise."""
    organization: Organization = OrganizationFactory.create(**values)
    return organization


def make_key(organization: Organization | None = None, **values: Any) -> tuple[ApiKey, str]:
    """A key with every scope, and its plaintext."""
    values.setdefault("scopes", list(Scope))
    issued = issue_key(organization=organization or make_organization(), name="Test", actor=TESTER, **values)
    return issued.key, issued.plaintext
