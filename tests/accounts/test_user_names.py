"""Names of accounts and organizations that nobody can take for another's."""

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction
from django.test import Client

from installation.doctor.findings import Status
from organizations.models import AuditEntry, Organization
from organizations.operations import create_organization
from organizations.user_names import as_user_name, odd_names
from tests.factories import TESTER, UserFactory, make_organization
from tests.support.doctor_patient import look
from tests.support.people.accounts import PASSWORD, make_user, sign_in

SLUGS = import_module("organizations.migrations.0008_slugs_without_case")
NAMES = import_module("accounts.migrations.0001_names_without_case")


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("Nora", "nora"), ("ＮＯＲＡ", "nora"), ("иван", "иван"), ("Иван.2", "иван.2"), ("山田たろう", "山田たろう"),
     ("김철수", "김철수"), ("josé-maria", "josé-maria"), ("x", "x"), ("ops+1", "ops+1")],
)  # fmt: skip
def test_a_name_is_kept_in_one_form(typed: str, kept: str) -> None:
    assert as_user_name(typed) == kept
    assert as_user_name(kept) == kept


@pytest.mark.parametrize(
    "typed",
    ["аdmin", "admіn", "αdmin", "асе", "..", ".", "-", "@", "a@example.com", "a b", "a\u200bb", "a\u202eb", "a\x00b",
     "\ud800", "a" * 149 + "\U0001f600", "ad\u00admin", "\U0001f600"],
)  # fmt: skip
def test_a_name_that_looks_like_another_or_like_nothing_is_refused(typed: str) -> None:
    with pytest.raises(ValidationError):
        as_user_name(typed)


def test_no_two_names_differ_by_case_alone(db: None) -> None:
    make_user("casey")
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create(username="CASEY")


def test_new_accounts_get_names_of_their_own_in_the_admin_too(db: None) -> None:
    make_user("casey")
    admin, _ = sign_in(make_user("sam", is_staff=True, is_superuser=True))

    def add(name: str) -> Any:
        form = {"username": name, "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
        return admin.post("/admin/auth/user/add/", form)

    for taken in ("Casey", "CASEY", "саsey", "..", "casey@example.com"):
        assert add(taken).status_code == 200, taken
    assert add("Nora").status_code == 302
    assert User.objects.filter(username="nora").exists()


def test_accounts_from_before_the_rules_go_on_working_and_are_named(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX accounts_name_without_case")
    first, second, odd = make_user("casey"), make_user("Casey"), make_user("аdmin")
    with connection.schema_editor(atomic=False) as editor:
        NAMES.make_names_unique(apps, editor)
    for user in (first, second, odd):
        assert sign_in(user)[1].status_code == 302, user.username
        user.first_name = "X"
        user.save()
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create(username="CASEY")
    assert odd_names(most=10) == ["Casey", "аdmin"]
    found = look("data")["user_names"]
    assert found.status is Status.WARNING
    assert "'Casey', '\\u0430dmin'" in found.what
    admin, _ = sign_in(make_user("sam", is_staff=True, is_superuser=True))
    form = {
        "username": "Casey",
        "is_active": "on",
        "last_name": "Y",
        "date_joined_0": "2026-01-01",
        "date_joined_1": "0:00",
    }
    assert admin.post(f"/admin/auth/user/{second.pk}/change/", form).status_code == 302
    second.refresh_from_db()
    assert (second.username, second.last_name) == ("Casey", "Y")


def test_no_two_slugs_differ_by_case_alone(db: None) -> None:
    make_organization(slug="acme")
    with pytest.raises(IntegrityError), transaction.atomic():
        create_organization(name="Acme", slug="ACME", plan="free", actor=TESTER)
    browser = Client()
    browser.force_login(
        UserFactory.create(is_staff=True, is_superuser=True), backend="django.contrib.auth.backends.ModelBackend"
    )
    page = browser.post("/admin/organizations/organization/add/", {"name": "Acme", "slug": "Acme", "plan": "free"})
    assert "There is an organization with this slug already" in page.content.decode()


@pytest.mark.django_db(transaction=True)
def test_slugs_that_differ_by_case_get_a_number_once() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX organization_slug_without_case")
    for slug in ("acme", "Acme", "ACME", "Acme-2", "other"):
        make_organization(slug=slug)
    constraint = next(each for each in Organization._meta.constraints if each.name == "organization_slug_without_case")
    with connection.schema_editor() as editor:
        SLUGS.rename_duplicates(apps, editor)
        editor.add_constraint(Organization, constraint)
    assert list(Organization.objects.order_by("pk").values_list("slug", flat=True)) == [
        "acme", "Acme-3", "ACME-4", "Acme-2", "other",
    ]  # fmt: skip
    told = AuditEntry.objects.filter(actor_label="migrate").order_by("pk")
    assert [entry.changes for entry in told] == [{"slug": ["Acme", "Acme-3"]}, {"slug": ["ACME", "ACME-4"]}]
