"""Contexts for TLS with a certificate of the sender's own: one for each certificate, as connections belong to one."""

import secrets
import ssl
import tempfile
from collections import OrderedDict

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from delivery.endpoints.credentials import ClientCertificate
from delivery.webhooks.answers import new_tls_context

_REMEMBERED = 200


class ClientContexts:
    """`ca_file` as for any webhook. Making a context reads all authorities: some 20 ms, so not in an event loop."""

    def __init__(self, ca_file: str) -> None:
        self._ca_file = ca_file
        self._made: OrderedDict[ClientCertificate, ssl.SSLContext] = OrderedDict()

    def made(self, certificate: ClientCertificate) -> ssl.SSLContext | None:
        """The one that was made already."""
        return self._made.get(certificate)

    def make(self, certificate: ClientCertificate) -> ssl.SSLContext:
        context = new_tls_context(self._ca_file)
        _load(context, certificate)
        self._made[certificate] = context
        if len(self._made) > _REMEMBERED:
            self._made.popitem(last=False)
        return context


def _load(context: ssl.SSLContext, certificate: ClientCertificate) -> None:
    """Python has OpenSSL read files only: the key is in one for a moment, encrypted with a password of its own."""
    key = load_pem_private_key(certificate.private_key.encode(), password=None)
    password = secrets.token_hex()
    encryption = BestAvailableEncryption(password.encode())
    with tempfile.NamedTemporaryFile() as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        file.write(certificate.certificate.encode())
        file.flush()
        context.load_cert_chain(file.name, password=password)
