"""The console of one organization, as one person sees and uses it."""

import re
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Group, User
from django.test import Client

from console.access import OPERATORS
from organizations.models import AuditEntry, Organization, Role
from tests.factories import UserFactory
from tests.support.people.console_data import browser_of, make_member


@dataclass
class Site:
    """The console of one organization, as one person sees it."""

    organization: Organization
    client: Client

    def url(self, path: str) -> str:
        return f"/console/o/{self.organization.slug}/{path}"

    def get(self, path: str) -> Any:
        return self.client.get(self.url(path))

    def page(self, path: str) -> str:
        answer = self.get(path)
        assert answer.status_code == 200, answer.content.decode()
        text: str = answer.content.decode()
        return text

    def post(self, path: str, **values: Any) -> Any:
        return self.client.post(self.url(path), values)

    def follow(self, path: str, **values: Any) -> str:
        """What the page says that the form leads to."""
        answer = self.client.post(self.url(path), values, follow=True)
        assert answer.redirect_chain, answer.content.decode()
        assert answer.status_code == 200
        text: str = answer.content.decode()
        return text


def site_of(organization: Organization, user: User) -> Site:
    return Site(organization, browser_of(user))


def as_role(organization: Organization, role: Role) -> Site:
    return site_of(organization, make_member(organization, role))


def staff(organization: Organization, *, operator: bool = False) -> Site:
    user = UserFactory.create(is_staff=True)
    if operator:
        user.groups.add(Group.objects.get_or_create(name=OPERATORS)[0])
    return site_of(organization, user)


def actions(organization: Organization) -> list[str]:
    entries = AuditEntry.objects.for_organization(organization.pk).order_by("pk")
    return list(entries.values_list("action", flat=True))


def errors(answer: Any) -> str:
    assert answer.status_code == 422, answer.status_code
    return "\n".join(re.findall(r'<ul class="errorlist.*?</ul>', answer.content.decode(), re.DOTALL))
