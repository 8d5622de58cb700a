"""Why an attempt failed, in one word and in one sentence, from what aiohttp and the system raise."""

import errno
import ssl
from http import HTTPStatus

import aiohttp
from yarl import URL

from delivery.attempt_errors import AttemptError
from delivery.attempts.exchange import Phase
from delivery.authorizing.tokens import TokenFailure
from delivery.egress.proxy import ProxyFailure
from delivery.webhooks.answers import ExcessiveAnswer
from delivery.webhooks.guard import UnsafeUrl
from delivery.webhooks.name_service import NameServiceError

# The first row that fits counts: several of these classes inherit from each other, and TimeoutError from OSError.
_ERRORS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], AttemptError], ...] = (
    (TokenFailure, AttemptError.TOKEN),
    (ProxyFailure, AttemptError.PROXY),
    (UnsafeUrl, AttemptError.UNSAFE_ADDRESS),
    (TimeoutError, AttemptError.TIMEOUT),
    (aiohttp.ClientConnectorDNSError, AttemptError.DNS),
    ((aiohttp.ClientSSLError, ssl.SSLError), AttemptError.TLS),
    (ConnectionRefusedError, AttemptError.CONNECTION_REFUSED),
    ((aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError), AttemptError.CONNECTION_RESET),
    ((aiohttp.ClientPayloadError, aiohttp.ClientResponseError), AttemptError.INVALID_RESPONSE),
    ((aiohttp.ClientConnectorError, OSError, RuntimeError), AttemptError.UNREACHABLE),
)
_RESET = (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED)

_TIMEOUTS = {
    Phase.RESOLVING: "The name servers did not answer within {seconds:g} s.",
    Phase.CONNECTING: "No connection within {seconds:g} s: the host is down, or a firewall drops what is sent to it.",
    Phase.SECURING: "The connection was made, but TLS was not agreed on within {seconds:g} s.",
    Phase.WAITING: "The endpoint took the request, but did not answer within {seconds:g} s: answer first, work after.",
    Phase.READING: "The answer had begun, but was not complete within {seconds:g} s.",
}
_RESETS = {
    Phase.RESOLVING: "The connection was reset.",
    Phase.CONNECTING: "The connection was reset while it was being made.",
    Phase.SECURING: "The endpoint closed the connection while TLS was being agreed on: does this port speak TLS?",
    Phase.WAITING: "The endpoint closed the connection without an answer.",
    Phase.READING: "The endpoint closed the connection in the middle of its answer.",
}
# By OpenSSL's X509_V_ERR_…: openssl/x509_vfy.h.
_CERTIFICATES = {
    9: "it is not valid yet; check the server's clock and the certificate's dates",
    10: "it has expired; renew it",
    18: "it is self-signed; use one of an authority that is publicly trusted",
    19: "an authority that is not trusted here stands at the end of its chain",
    20: "its issuer is unknown; if it is a public authority, the server does not send the whole chain: add the"
    " intermediate certificates",
    21: "its issuer is unknown; if it is a public authority, the server does not send the whole chain: add the"
    " intermediate certificates",
    23: "it has been revoked; replace it",
    62: "it was issued for another host name than the one in the URL",
    64: "it was not issued for the address in the URL; use the host name that it names",
}
_TLS = {
    "WRONG_VERSION_NUMBER": "the port does not speak TLS; check the scheme and the port of the URL",
    "HTTP_REQUEST": "the port does not speak TLS; check the scheme and the port of the URL",
    "UNSUPPORTED_PROTOCOL": "the server offers only outdated versions of TLS; TLS 1.2 is needed",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server accepts none of the versions of TLS that are offered, from 1.2 on",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the server accepts no cipher that is offered, or wants a client certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server wants a client certificate",
    "TLSV1_UNRECOGNIZED_NAME": "the server does not know the host name in the URL",
    "UNEXPECTED_EOF_WHILE_READING": "the endpoint closed the connection while TLS was being agreed on",
}
_HINTS = {
    401: "it does not accept the credentials; check the subscription's headers and its auth",
    403: "it refuses the request; check the credentials, or a firewall before it",
    404: "it has nothing at this path; check the URL",
    405: "it takes no POST at this path; check the URL",
    408: "it gave up waiting for the request",
    410: "it wants nothing any more, so the subscription is disabled",
    413: "the event is larger than it accepts",
    415: "it does not accept application/json",
    429: "it asks to send more slowly",
}


def judge_status(status: int) -> tuple[AttemptError | None, str]:
    """The verdict on an answer that was read: None when it was delivered, and a sentence."""
    answered = f"The endpoint answered {status}{_phrase(status)}"
    if 200 <= status < 300:
        return None, f"{answered}."
    if 300 <= status < 400:
        return AttemptError.REDIRECT, f"{answered}: redirects are not followed; set the URL that it leads to."
    hint = _HINTS.get(status) or ("the fault is on its side; see its log" if status >= 500 else "")
    return AttemptError.HTTP_ERROR, f"{answered}: {hint}." if hint else f"{answered}."


def _phrase(status: int) -> str:
    try:
        return f" ({HTTPStatus(status).phrase})"
    except ValueError:
        return ""


def explain(error: Exception, phase: Phase, *, url: str, seconds: float) -> tuple[AttemptError, str]:
    """The class of a failure in this phase of an attempt that may take so many seconds, and a sentence for people.

    Never the URL, whose query may hold a token, nor an address that a name resolved to: refusals and failures would
    map the network for whoever sets the URL.
    """
    kind, cause = error_of(error), _cause(error)
    match kind:
        case AttemptError.UNSAFE_ADDRESS if isinstance(cause, UnsafeUrl):
            sentence = cause.reason
        case AttemptError.TOKEN | AttemptError.PROXY if isinstance(cause, TokenFailure | ProxyFailure):
            sentence = cause.reason
        case AttemptError.TIMEOUT:
            sentence = _TIMEOUTS[phase].format(seconds=seconds)
        case AttemptError.DNS:
            sentence = str(cause) if isinstance(cause, NameServiceError) else "The host name could not be resolved."
        case AttemptError.TLS:
            sentence = _tls_sentence(cause)
        case AttemptError.CONNECTION_RESET:
            sentence = _RESETS[phase]
        case AttemptError.CONNECTION_REFUSED:
            sentence = f"The host refused the connection: nothing listens on its port {URL(url).port}."
        case AttemptError.UNREACHABLE:
            sentence = _unreachable_sentence(cause)
        case _:
            sentence = _invalid_sentence(error)
    return kind, sentence


def error_of(error: Exception) -> AttemptError:
    """The class of a failure; aiohttp wraps the system's errors, and the wrapped one says more."""
    cause = _cause(error)
    if isinstance(cause, OSError) and cause.errno in _RESET:
        return AttemptError.CONNECTION_RESET
    for kinds, attempt_error in _ERRORS:
        if isinstance(error, kinds) or isinstance(cause, kinds):
            return attempt_error
    return AttemptError.INVALID_RESPONSE


def _cause(error: BaseException) -> BaseException:
    """The error of the operating system or of the guard beneath, if there is one."""
    inner = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error.__cause__
    return inner if isinstance(inner, OSError) else error


def _tls_sentence(cause: BaseException) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        why = _CERTIFICATES.get(cause.verify_code) or cause.verify_message
        return f"The server's certificate is not accepted: {why}."
    reason = getattr(cause, "reason", None) or ""
    why = _TLS.get(reason) or reason.lower().replace("_", " ")
    return f"No secure connection could be made: {why}." if why else "No secure connection could be made."


def _unreachable_sentence(cause: BaseException) -> str:
    number = cause.errno if isinstance(cause, OSError) else None
    if number in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return "There is no route to the host."
    return "No connection could be made to the host."


def _invalid_sentence(error: Exception) -> str:
    if isinstance(error, ExcessiveAnswer):
        return str(error)
    if isinstance(error, aiohttp.ClientResponseError):
        return f"The answer is not valid HTTP: {error.message}"
    return "The answer ended before it was complete."
