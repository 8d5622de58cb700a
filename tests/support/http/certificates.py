"""Certificates for tests of TLS: one that is signed by itself, and one of an authority of its own."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM


def self_signed(folder: Path, name: str, *, days: int = 1) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts for a server called `name` and for a client that trusts it; `certificate.pem` in `folder` is both."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _builder(name, name, key, ca=True, days=days).sign(key, hashes.SHA256())
    pem = folder / "certificate.pem"
    pem.write_bytes(_private(key) + certificate.public_bytes(_PEM))
    return _server(pem), ssl.create_default_context(cafile=pem)


def signed_by_own_authority(folder: Path, address: str) -> tuple[ssl.SSLContext, Path]:
    """A context for a server at an IP address, and the file of the authority that vouches for it."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _builder("authority", "authority", authority_key, ca=True).sign(authority_key, hashes.SHA256())
    certificate = _builder(address, "authority", key, ca=False).sign(authority_key, hashes.SHA256())
    ca_file, pem = folder / "authority.pem", folder / "server.pem"
    ca_file.write_bytes(authority.public_bytes(_PEM))
    pem.write_bytes(_private(key) + certificate.public_bytes(_PEM))
    return _server(pem), ca_file


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client's certificate and private key, as PEM."""

    certificate: str
    private_key: str


def demanding_client_certificates(folder: Path, address: str, *, days: int = 30) -> tuple[ssl.SSLContext, Path, Client]:
    """For a server that lets in only whom its own authority vouches for; the authority's file; and such a client."""
    authority_key, server_key, client_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    authority = _builder("authority", "authority", authority_key, ca=True, days=400).sign(
        authority_key, hashes.SHA256()
    )
    server = _builder(address, "authority", server_key, ca=False).sign(authority_key, hashes.SHA256())
    client = _builder("client", "authority", client_key, ca=False, days=days).sign(authority_key, hashes.SHA256())
    ca_file, pem = folder / "client-authority.pem", folder / "demanding.pem"
    ca_file.write_bytes(authority.public_bytes(_PEM))
    pem.write_bytes(_private(server_key) + server.public_bytes(_PEM))
    context = _server(pem)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ca_file)
    return (
        context,
        ca_file,
        Client(certificate=client.public_bytes(_PEM).decode(), private_key=_private(client_key).decode()),
    )


def _builder(
    name: str, issuer: str, key: ec.EllipticCurvePrivateKey, *, ca: bool, days: int = 1
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_general_name(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _server(pem: Path) -> ssl.SSLContext:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server
