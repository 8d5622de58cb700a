"""Why an attempt failed, in one word and in one sentence, from what aiohttp and the system raise."""

import errno
import ssl

import aiohttp

from delivery.attempt_errors import AttemptError
from delivery.webhooks.answers import ExcessiveAnswer
from delivery.webhooks.guard import UnsafeUrl

_SENTENCES = {
    AttemptError.TIMEOUT: "No complete answer in time.",
    AttemptError.TLS: "No secure connection could be made.",
    AttemptError.INVALID_RESPONSE: "The answer is not valid HTTP, or ended too early.",
    AttemptError.CONNECTION_REFUSED: "The endpoint refused the connection.",
    AttemptError.CONNECTION_RESET: "The endpoint closed the connection without an answer.",
    AttemptError.UNREACHABLE: "No connection could be made to the endpoint.",
    AttemptError.DNS: "The host name could not be resolved.",
}
# The first row that fits counts: several of these classes inherit from each other, and TimeoutError from OSError.
_ERRORS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], AttemptError], ...] = (
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


def sentence_of(error: Exception) -> str:
    """For people. Never the URL, whose query may hold a token, nor an address that a name resolved to: refusals and
    failures would map the network for whoever sets the URL.
    """
    cause = _cause(error)
    if isinstance(cause, UnsafeUrl):
        return cause.reason
    if isinstance(error, ExcessiveAnswer):
        return str(error)
    kind = error_of(error)
    if kind is AttemptError.TLS:
        return f"{_SENTENCES[kind]} {getattr(cause, 'verify_message', '')}".strip()
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{_SENTENCES[kind]} {error.message}"
    return _SENTENCES[kind]
