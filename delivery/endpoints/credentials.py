"""What a sender needs to authorize itself at an endpoint. Pure."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ClientCredentials:
    """OAuth 2.0 (RFC 6749, 4.4): a token is fetched from `token_url`, and sent with each webhook."""

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None


@dataclass(frozen=True, kw_only=True)
class ClientCertificate:
    """TLS with a certificate on both sides. Both are PEM; the certificate may have its chain behind it."""

    certificate: str = field(repr=False)
    private_key: str = field(repr=False)


Auth = ClientCredentials | ClientCertificate
