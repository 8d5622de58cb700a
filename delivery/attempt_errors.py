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
