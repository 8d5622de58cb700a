"""Mails: whoever wants one leaves a row, in the transaction of its reason; a worker writes and sends it.

So no request waits for a mail server, and none tells by its time whether there was somebody to write to. The row names
what the mail is about. What it says, and any link in it, is made when it is sent, by the function that is registered
for its kind: neither the database nor Redis ever holds a link.
"""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from smtplib import SMTPDataError, SMTPRecipientsRefused
from typing import Any

from django.core.mail import EmailMessage
from django.db import transaction
from django.utils import timezone

from core.broker.wakeup import Waker
from core.log_lines import log_line
from core.postgresql.faults import is_passing
from delivery.models import PendingMail

logger = logging.getLogger(__name__)
# A server that was not there is asked again after this long, for all mails: each look may take its whole time-out.
_REST = timedelta(seconds=60)
# Some 50 minutes in all: a mail about a password that comes later than that helps nobody.
_WAITS = (60, 120, 240, 480, 900, 1200)
# What a server says of one mail; the others may go.
_OF_ONE_MAIL = (SMTPRecipientsRefused, SMTPDataError)

_waker = Waker("delivery.send_mails")

# From what a mail is about to the messages.
Composer = Callable[[dict[str, Any]], Iterable[EmailMessage]]
_composers: dict[str, Composer] = {}


# Of those kinds that are tried longer than the others.
_tries: dict[str, int] = {}


def register_mail(kind: str, compose: Composer, *, tries: int = len(_WAITS)) -> None:
    """`compose` is called when a mail of this kind is sent; after `tries` it is given up. For AppConfig.ready()."""
    _composers[kind] = compose
    _tries[kind] = tries


def request_mail(kind: str, about: dict[str, Any]) -> None:
    """Have a mail sent soon after the caller's commit. `about` is JSON, and holds no secret."""
    request_mails(kind, [about])


def request_mails(kind: str, abouts: Iterable[dict[str, Any]]) -> None:
    """Likewise several of a kind."""
    PendingMail.objects.bulk_create([PendingMail(kind=kind, about=about) for about in abouts], batch_size=500)
    transaction.on_commit(_waker.wake)


def send_mails(*, seconds: float = 20.0) -> int:
    """Send what is due, for some `seconds` and while the mail server takes them; returns how many mails went out.

    Outside of a transaction. One that is killed while it sends has its mail sent again a minute later.
    """
    until, sent = time.monotonic() + seconds, 0
    while time.monotonic() < until and (mail := _claim(timezone.now())) is not None:
        try:
            # One of a kind that only a newer release knows is put off until its workers are there.
            messages = list(_composers[mail.kind](mail.about))
            for message in messages:
                message.send()
        except Exception as error:
            if is_passing(error):
                raise  # PostgreSQL's trouble, not the mail's
            _put_off(mail, error)
            if isinstance(error, OSError) and not isinstance(error, _OF_ONE_MAIL):
                # The server is away: no mail is tried for a while.
                later = timezone.now() + _REST
                PendingMail.objects.filter(next_attempt_at__lt=later).update(next_attempt_at=later)
                break
        else:
            PendingMail.objects.filter(pk=mail.pk).delete()
            sent += len(messages)
    return sent


@transaction.atomic
def _claim(now: datetime) -> PendingMail | None:
    due = PendingMail.objects.select_for_update(skip_locked=True).filter(next_attempt_at__lte=now)
    mail = due.order_by("next_attempt_at").first()
    if mail is None:
        return None
    mail.attempts += 1
    mail.next_attempt_at = now + timedelta(seconds=_WAITS[min(mail.attempts, len(_WAITS)) - 1])
    mail.save(update_fields=["attempts", "next_attempt_at"])
    return mail


def _put_off(mail: PendingMail, error: Exception) -> None:
    """It is tried again when its claim is over, or never. The log has neither the address nor the server's words."""
    if is_last := mail.attempts >= _tries.get(mail.kind, len(_WAITS)):
        PendingMail.objects.filter(pk=mail.pk).delete()
    log_line(
        logger,
        "a mail was not sent and was given up" if is_last else "a mail was not sent, and will be tried again",
        level=logging.WARNING if isinstance(error, OSError) else logging.ERROR,
        kind=mail.kind,
        attempts=mail.attempts,
        error=type(error).__name__,
    )
