"""How a webhook may authorize itself at its endpoint, and what each way has to say. Pure.

An `auth` is a mapping with a `type` and the members of that type, as the API takes it. Some are secret: they are never
shown again, so a change may leave them out, and they go nowhere that they were not given for.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from core.field_errors import FieldError
from core.problems import Problem, invalid
from delivery.endpoints.binding import endpoint_of, given_anew

OAUTH2, MTLS = "oauth2_client_credentials", "mtls"
SECRETS = {OAUTH2: ("client_secret",), MTLS: ("certificate", "private_key")}
MAX_CREDENTIAL = 1000
# A chain of four certificates with RSA keys of 4096 bits has some 9 KiB.
MAX_PEM = 16 * 1024
# RFC 6749: what client ids, secrets and scopes are made of.
_VISIBLE = re.compile(r"[\x20-\x7e]+")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*")


def complete_auth(
    given: Mapping[str, Any], stored: Mapping[str, Any] | None, *, is_same_endpoint: bool
) -> dict[str, Any]:
    """The auth with the secrets that were left out as they are stored.

    Raises Problem 422: headers_required for a secret that would go to another endpoint than it was given for, and for
    one that is not there.
    """
    secrets = SECRETS[given["type"]]
    missing = [name for name in secrets if name not in given]
    if not missing:
        return dict(given)
    if stored is None or stored["type"] != given["type"]:
        raise invalid(f"/auth/{missing[0]}", "required", "This field is required.")
    same_issuer = endpoint_of(given.get("token_url", "")) == endpoint_of(stored.get("token_url", ""))
    if not (is_same_endpoint and same_issuer):
        raise Problem("headers_required", errors=[given_anew("auth", name) for name in missing])
    return {**given, **{name: stored[name] for name in missing}}


def check_oauth2(auth: Mapping[str, Any]) -> list[FieldError]:
    """What is wrong with its texts; the address is not looked at."""
    errors = [
        FieldError(pointer=f"/auth/{name}", code="invalid", detail="Visible ASCII characters and spaces only.")
        for name in ("client_id", "client_secret")
        if name in auth and _VISIBLE.fullmatch(auth[name]) is None
    ]
    scope = auth.get("scope")
    if scope is not None and _SCOPE.fullmatch(scope) is None:
        detail = 'Words of visible ASCII characters but " and \\, with one space between.'
        errors.append(FieldError(pointer="/auth/scope", code="invalid", detail=detail))
    return errors


def check_certificate(auth: Mapping[str, Any], *, now: datetime) -> datetime:
    """Certificate and private key of `mtls` are there, belong together and are valid now; returns when that ends.

    The first certificate is the client's own, what follows is its chain. Raises Problem 422.
    """
    ends, of_certificate = _read_certificate(auth["certificate"])
    of_key = _read_key(auth["private_key"])
    errors = []
    if ends is None:
        errors.append(("certificate", "invalid", "This is no certificate in PEM."))
    elif ends <= now:
        errors.append(("certificate", "expired", "The certificate, or one of its chain, has expired."))
    if of_key is None:
        errors.append(("private_key", "invalid", "This is no private key in PEM without a password."))
    elif of_certificate not in (None, of_key):
        errors.append(("private_key", "invalid", "This is not the key of the first certificate."))
    if errors or ends is None:
        raise Problem(
            "validation_failed",
            errors=[FieldError(pointer=f"/auth/{name}", code=code, detail=detail) for name, code, detail in errors],
        )
    return ends


def _read_certificate(text: str) -> tuple[datetime | None, bytes | None]:
    """When the first of the chain ends, and the public key of its own certificate; None for what is none."""
    try:
        certificates = x509.load_pem_x509_certificates(text.encode())
        own = certificates[0].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return min(certificate.not_valid_after_utc for certificate in certificates), own
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None, None


def _read_key(text: str) -> bytes | None:
    """The public half of a private key; None for what is none."""
    try:
        key = load_pem_private_key(text.encode(), password=None)
        return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm):
        return None
