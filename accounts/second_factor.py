"""Whether a signed-in person has shown a second factor in this session. Whatever page the password was given on."""

from enum import Enum, auto

from allauth.account.authentication import get_authentication_records
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest


class SecondFactor(Enum):
    """What is to be done about it. A session in CONFIRM has given a password and nothing more."""

    NOTHING = auto()
    CONFIRM = auto()
    SET_UP = auto()


def second_factor_of(request: HttpRequest, user: User) -> SecondFactor:
    """One query; none for those who have confirmed and need not have one."""
    must_have = settings.REQUIRE_STAFF_MFA and user.is_staff
    confirmed = any(record.get("method") == "mfa" for record in get_authentication_records(request, user))
    if confirmed and not must_have:
        return SecondFactor.NOTHING
    if has_second_factor(user):
        return SecondFactor.NOTHING if confirmed else SecondFactor.CONFIRM
    return SecondFactor.SET_UP if must_have else SecondFactor.NOTHING


def has_second_factor(user: User) -> bool:
    """Recovery codes alone are none: they are for the day when it is lost."""
    found: bool = Authenticator.objects.filter(user=user).exclude(type=Authenticator.Type.RECOVERY_CODES).exists()
    return found
