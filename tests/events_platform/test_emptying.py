"""What a test that commits leaves for the next one (tests/support/postgresql/emptying.py)."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, User

from accounts.groups import GROUPS, SUPPORT
from ingestion.models import Event
from organizations.models import Organization
from tests.conftest import make_tenant
from tests.support.postgresql.emptying import empty_tables

pytestmark = pytest.mark.django_db(transaction=True)


def permissions_of_groups() -> dict[str, set[Any]]:
    """By the names of the groups."""
    return {group.name: set(group.permissions.values_list("codename", flat=True)) for group in Group.objects.all()}


def test_its_rows_go_and_those_of_the_migrations_stay() -> None:
    empty_tables()
    groups = permissions_of_groups()
    make_tenant().post("/api/v1/events", {"type": "a", "data": {}})
    Group.objects.get(name=SUPPORT).user_set.create(username="ada")
    empty_tables()
    assert [model.objects.count() for model in (Event, Organization, User)] == [0, 0, 0]
    assert permissions_of_groups() == groups


def test_groups_that_it_has_changed_are_as_they_were() -> None:
    groups = permissions_of_groups()
    Group.objects.create(name="guests")
    Group.objects.get(name=SUPPORT).permissions.clear()
    empty_tables()
    assert permissions_of_groups() == groups
    assert groups.keys() == GROUPS.keys()
