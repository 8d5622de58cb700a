"""Whether a signed-in person has shown a second factor in this session. Whatever page the password was given on."""

from enum import Enum, auto
from typing import Any

from allauth.account.authentication import get_authentication_records
from allauth.core.internal.cryptokit import compare_user_code
from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest

# In the app's row: the time step (RFC 6238) whose code was the last one that was taken.
_LAST_STEP = "last_step"


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


def accept_code(authenticator: Authenticator, code: str) -> bool:
    """Whether it is a code of the app, or one of the recovery codes, that is good now. It is not any more then.

    A code of the app that is older than the last one is not taken either (RFC 6238, section 5.2).
    """
    if authenticator.type != Authenticator.Type.TOTP:
        return bool(authenticator.wrap().validate_code(code))
    with transaction.atomic():
        row = Authenticator.objects.select_for_update().filter(pk=authenticator.pk).first()
        step = None if row is None else _step_of(row.data, code)
        if step is None or step <= row.data.get(_LAST_STEP, 0):
            return False
        row.data[_LAST_STEP] = step
        row.save(update_fields=["data"])
    return True


def _step_of(data: dict[str, Any], code: str) -> int | None:
    """All steps that a clock may be off are compared, the newest first."""
    secret = get_adapter().decrypt(data["secret"])
    for step in sorted(yield_hotp_counters_from_time(), reverse=True):
        if compare_user_code(actual=code, expected=format_hotp_value(hotp_value(secret, step))):
            return int(step)
    return None
