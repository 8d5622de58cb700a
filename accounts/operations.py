"""What is done to other people's accounts."""

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone

from accounts.notices import Change, tell_owner
from organizations.audit import Actor, record


def forget_ended_sessions(user: User) -> None:
    """Forget where the person was signed in: sessions that expired or were ended."""
    alive = Session.objects.filter(expire_date__gt=timezone.now()).values("session_key")
    UserSession.objects.filter(user=user).exclude(session_key__in=alive).delete()


@transaction.atomic
def remove_second_factor(*, user: User, actor: Actor) -> int:
    """Remove app, passkeys and recovery codes of somebody who has lost them, and end the person's sessions.

    Returns how many authenticators there were. Whoever asks for this has been identified by other means.
    """
    removed: int = Authenticator.objects.filter(user=user).delete()[0]
    if removed:
        for session in UserSession.objects.filter(user=user):
            session.end()
        record(actor=actor, action="account.second_factor_removed", target=user, organization=None,
               changes={"removed": removed})  # fmt: skip
        tell_owner(user, Change.FACTORS_REMOVED)
    return removed
