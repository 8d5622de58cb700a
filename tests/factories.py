"""Rows for tests."""

from typing import Any

import factory
from django.contrib.auth.models import User

from organizations.audit import Actor
from organizations.models import ApiKey, Organization
from organizations.operations import issue_key
from organizations.scopes import Scope

TESTER = Actor.system("tests")


class OrganizationFactory(factory.django.DjangoModelFactory[Organization]):
    class Meta:
        model = Organization

    name = factory.Sequence(lambda number: f"Organization {number}")
    slug = factory.Sequence(lambda number: f"organization-{number}")


class UserFactory(factory.django.DjangoModelFactory[User]):
    class Meta:
        model = User

    username = factory.Sequence(lambda number: f"user-{number}")


def make_key(organization: Organization | None = None, **values: Any) -> tuple[ApiKey, str]:
    """A key with every scope, and its plaintext."""
    values.setdefault("scopes", list(Scope))
    issued = issue_key(organization=organization or OrganizationFactory(), name="Test", actor=TESTER, **values)
    return issued.key, issued.plaintext
