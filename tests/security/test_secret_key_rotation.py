"""A new SECRET_KEY with the old one as a fallback breaks nothing; without it, everything that it signed is void."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import User
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from console.exports.jobs import download_token, is_download_token
from console.models import Export
from core.secrets import UnreadableSecretError, decrypt_secret, encrypt_secret
from delivery.models import Subscription
from notifications.mails import send_mails
from organizations.models import Role
from organizations.operations.invitations import find_invitation, invitation_token, invite_member
from tests.conftest import Tenant
from tests.factories import TESTER, make_organization

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery staple"
NEW = "another secret key, of fifty characters or some more"


@pytest.fixture(params=[True, False], ids=["kept", "dropped"])
def rotation(request: pytest.FixtureRequest, settings: Any) -> "Rotation":
    settings.FIELD_ENCRYPTION_KEYS = []
    return Rotation(settings, works=request.param)


class Rotation:
    """`works` is whether the old key is kept as a fallback."""

    def __init__(self, settings: Any, *, works: bool) -> None:
        self.settings, self.works = settings, works

    def make(self) -> None:
        if self.works:
            self.settings.SECRET_KEY_FALLBACKS = [self.settings.SECRET_KEY]
        self.settings.SECRET_KEY = NEW

    def end(self) -> None:
        """Drop the old key."""
        self.settings.SECRET_KEY_FALLBACKS = []


@pytest.fixture
def person(db: None, settings: Any) -> User:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return User.objects.create_user("casey", "casey@example.com", PASSWORD)


def signed_in(user: User) -> Client:
    client = Client()
    assert client.post("/console/sign-in/", {"username": user.username, "password": PASSWORD}).status_code == 302
    return client


def test_people_stay_signed_in_in_every_tab(person: User, rotation: Rotation) -> None:
    client = signed_in(person)
    other_tab = Client()
    other_tab.cookies.load(client.cookies.output(header=""))
    session_id = client.session.session_key
    rotation.make()
    expected = 200 if rotation.works else 302
    assert client.get("/account/").status_code == expected
    assert other_tab.get("/account/").status_code == expected
    if rotation.works:
        assert UserSession.objects.get().session_key == session_id, "it is listed, and can be ended"
        rotation.end()
        assert client.get("/account/").status_code == 200, "the session is the new key's now"


def test_cursors_stay_good(tenant: Tenant, rotation: Rotation) -> None:
    for number in range(3):
        tenant.post("/api/v1/events", {"type": "a", "data": number})
    cursor = tenant.get("/api/v1/events?limit=1").json()["next_cursor"]
    rotation.make()
    assert tenant.get(f"/api/v1/events?limit=1&cursor={cursor}").status_code == (200 if rotation.works else 400)


def test_links_in_mails_stay_good(person: User, rotation: Rotation) -> None:
    organization = make_organization()
    invitation = invite_member(
        organization=organization,
        email="new@example.com",
        role=Role.MEMBER,
        invited_by=person,
        actor=TESTER,
        now=timezone.now(),
    )
    token = invitation_token(invitation)
    Client().post("/account/password/reset/", {"email": person.email})
    assert send_mails() == 1
    link = next(word for word in mail.outbox[-1].body.split() if "/account/password/reset/" in word)
    export = Export(pk="01900000-0000-7000-8000-000000000000")
    download = download_token(export)
    rotation.make()
    assert (find_invitation(token, now=timezone.now()) is not None) == rotation.works
    assert is_download_token(download, export) == rotation.works
    page = Client().get(urlsplit(link).path, follow=True)
    assert ("new_password1" in page.content.decode()) == rotation.works


def test_stored_secrets_are_read_and_move_to_the_new_key(tenant: Tenant, rotation: Rotation) -> None:
    settings = rotation.settings
    settings.WEBHOOK_ALLOW_HTTP = True
    made = tenant.post("/api/v1/subscriptions", {"kind": "webhook", "url": "http://93.184.215.14/hook"}).json()
    webhook = Subscription.objects.get(pk=made["id"])
    secret = decrypt_secret(webhook.secret)
    rotation.make()
    if not rotation.works:
        with pytest.raises(UnreadableSecretError):
            decrypt_secret(webhook.secret)
        return
    assert decrypt_secret(webhook.secret) == secret
    with pytest.raises(CommandError, match="before an old key is dropped"):
        call_command("rotate_encryption_keys", check=True)
    call_command("rotate_encryption_keys")
    call_command("rotate_encryption_keys", check=True)
    rotation.end()
    webhook.refresh_from_db()
    assert decrypt_secret(webhook.secret) == secret
    assert decrypt_secret(encrypt_secret("new")) == "new"
