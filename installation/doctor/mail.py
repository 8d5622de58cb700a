"""The mail server: that it lets us in, or takes a real message."""

import smtplib
import ssl

from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from core.version import VERSION
from installation.doctor.checks import Check, Visit
from installation.doctor.findings import CheckOutcome, good, problem, skipped, warning

PART = "mail"
_LANE = "mail"
# Less than a check has in all, so that it says itself what hangs.
_SECONDS = 4
_BODY = (
    "This message was sent by `manage.py doctor --mail-to` of {url}, version {version}.\n"
    "Whoever reads it knows that mails of the platform arrive.\n"
)


def _mail_server(visit: Visit) -> CheckOutcome:
    if _goes_nowhere():
        if not settings.HTTPS:
            return good("Mails go to the output of the process, which is fine for a trial.")
        return warning(
            "EMAIL_URL is console: owner mails, invitations and password resets reach nobody.",
            "Set EMAIL_URL to a mail server, such as smtp+tls://user:password@host:587, restart all processes, and run"
            " `manage.py doctor --mail-to you@example.com`.",
        )
    connection = get_connection(timeout=_SECONDS)
    try:
        connection.open()
    except (smtplib.SMTPException, OSError) as error:
        return _refused(error)
    finally:
        connection.close()
    return good(f"The mail server {_server()} accepts the sign-in.")


def _mail_test(visit: Visit) -> CheckOutcome:
    if not visit.mail_to:
        return skipped("No message was sent: `--mail-to ADDRESS` sends one.")
    if _goes_nowhere():
        return skipped("EMAIL_URL is console: no message leaves.")
    message = EmailMessage(
        subject="Test message of the events platform",
        body=_BODY.format(url=settings.PUBLIC_URL, version=VERSION),
        to=[visit.mail_to],
        connection=get_connection(timeout=_SECONDS),
    )
    try:
        message.send()
    except (smtplib.SMTPException, OSError) as error:
        return _refused(error)
    return good(f"The mail server accepted a message for {visit.mail_to}: check that it arrives.")


def _refused(error: Exception) -> CheckOutcome:
    """Codes, and never the server's words: some quote what they were sent."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return problem(
            f"The mail server {_server()} refuses the user or the password ({error.smtp_code}).",
            "Compare them with those in EMAIL_URL; signs such as @ in the password are percent-encoded.",
        )
    if isinstance(error, smtplib.SMTPSenderRefused | smtplib.SMTPRecipientsRefused | smtplib.SMTPDataError):
        return problem(
            f"The mail server {_server()} accepts no message from {settings.DEFAULT_FROM_EMAIL} ({_code(error)}).",
            "Set DEFAULT_FROM_EMAIL to a sender that it accepts, and check that the recipient exists.",
        )
    if isinstance(error, ssl.SSLError):
        return problem(
            f"TLS with the mail server {_server()} fails ({error.reason or type(error).__name__}).",
            "smtps:// is for TLS from the start (port 465), smtp+tls:// for STARTTLS (587); its certificate must be"
            " valid for that name. SSL_CERT_FILE names a private authority.",
        )
    return problem(
        f"The mail server {_server()} does not answer as one ({type(error).__name__}).",
        "Check that EMAIL_URL has its host, port and kind of encryption, and that this host can reach it.",
    )


def _code(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return ", ".join(str(code) for code, _ in error.recipients.values())
    return str(getattr(error, "smtp_code", ""))


def _goes_nowhere() -> bool:
    return settings.EMAIL_BACKEND.endswith("console.EmailBackend")


def _server() -> str:
    return f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT}"


CHECKS = (
    Check(part=PART, name="mail_server", run=_mail_server, lane=_LANE),
    Check(part=PART, name="mail_test", run=_mail_test, lane=_LANE),
)
