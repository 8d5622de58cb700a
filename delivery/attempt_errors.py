"""The words for why an attempt failed."""

from enum import StrEnum


class AttemptError(StrEnum):
    """Why an attempt failed; also the label of its metric."""

    TIMEOUT = "timeout"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_RESET = "connection_reset"
    UNREACHABLE = "unreachable"
    DNS = "dns"
    TLS = "tls"
    UNSAFE_ADDRESS = "unsafe_address"
    PROXY = "proxy"
    TOKEN = "token"  # noqa: S105 - a word
    REDIRECT = "redirect"
    HTTP_ERROR = "http_error"
    INVALID_RESPONSE = "invalid_response"


# What ended a delivery, for people, without a full stop: an attempt's error, or what else its `last_error` may be.
_WORDS: dict[str, str] = {
    AttemptError.TIMEOUT: "It does not answer in time",
    AttemptError.CONNECTION_REFUSED: "It refuses the connection",
    AttemptError.CONNECTION_RESET: "It closes the connection",
    AttemptError.UNREACHABLE: "It cannot be reached",
    AttemptError.DNS: "Its host name cannot be resolved",
    AttemptError.TLS: "No secure connection can be made",
    AttemptError.UNSAFE_ADDRESS: "Its address is not allowed",
    AttemptError.PROXY: "The proxy does not let it through",
    AttemptError.TOKEN: "No access token is issued for it",
    AttemptError.REDIRECT: "It redirects elsewhere",
    AttemptError.HTTP_ERROR: "It answers with an error",
    AttemptError.INVALID_RESPONSE: "Its answer is not valid",
    "event_gone": "The event aged out before it could be sent",
    "expired": "It was held until the event aged out",
    "max_leases": "No consumer acknowledged it",
    "skipped": "Somebody skipped it",
    "subscription_deleted": "Its subscription was deleted",
}


def error_words(code: str, status_code: int | None = None) -> str:
    """What a stored code says to people, with the status of an answer that was an error.

    A code without words, which a newer version wrote, stays as it is.
    """
    if status_code and code == AttemptError.HTTP_ERROR:
        return f"It answers {status_code}"
    return _WORDS.get(code, code)
