"""Whose fault is a dead letter? One place that says so, for the admin."""

from collections.abc import Collection
from enum import StrEnum

from delivery.attempt_errors import AttemptError
from delivery.operations.inbox_leases import MAX_LEASES_ERROR
from delivery.operations.retention import EXPIRED, SUBSCRIPTION_DELETED


class Fault(StrEnum):
    """OURS is what the platform did or decided; THEIRS is what an endpoint or a consumer did."""

    OURS = "ours"
    THEIRS = "theirs"


# An endpoint that is down, slow, badly set up or that says no, a consumer that never acknowledges, and a subscription
# that was paused for longer than events are kept, or deleted.
# Everything else is ours: an address that our guard refuses (`unsafe_address`: perhaps it is too strict), an event that
# was gone before it could be sent (`event_gone`: we kept it too briefly, or sent too late), and whatever gets a name
# later: a new error has to be looked at before it may be called somebody else's.
THEIRS: Collection[str] = (
    AttemptError.HTTP_ERROR.value,
    AttemptError.TIMEOUT.value,
    AttemptError.CONNECTION_REFUSED.value,
    AttemptError.CONNECTION_RESET.value,
    AttemptError.UNREACHABLE.value,
    AttemptError.DNS.value,
    AttemptError.TLS.value,
    AttemptError.REDIRECT.value,
    AttemptError.INVALID_RESPONSE.value,
    AttemptError.TOKEN.value,
    MAX_LEASES_ERROR,
    EXPIRED,
    SUBSCRIPTION_DELETED,
)


def side_of(last_error: str) -> Fault:
    return Fault.THEIRS if last_error in THEIRS else Fault.OURS
