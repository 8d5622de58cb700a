"""Which version of an object somebody has in hand, so that nobody undoes a change unseen.

A version is made from the fields that can be changed, a piece of each: no row needs a column for it, and of two
versions one can tell which fields differ. It goes out as an ETag and as a hidden field of forms, comes back as If-Match
or with the form, and is compared by the operation that makes the change, where nobody else can come between.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.crypto import salted_hmac
from django.utils.http import parse_etags
from rest_framework.request import Request

from core.field_errors import FieldError
from core.problems import Problem

# Characters of a piece: 48 bits. Without SECRET_KEY nobody can try values against it, which may be secrets.
_PIECE = 8


def version_of(fields: Mapping[str, Any]) -> str:
    """The version of an object with these fields, in their order; values are JSON, or else told by their text."""
    return "".join(_piece(name, value) for name, value in fields.items())


def changed_since(version: str, fields: Mapping[str, Any]) -> list[str]:
    """The names of fields that were others in `version`; none when it is no version of such an object."""
    pieces = [version[start : start + _PIECE] for start in range(0, _PIECE * len(fields), _PIECE)]
    if len(version) != _PIECE * len(fields):
        return []
    return [name for (name, value), piece in zip(fields.items(), pieces, strict=True) if piece != _piece(name, value)]


def require_version(expected: Sequence[str] | None, fields: Mapping[str, Any]) -> None:
    """Raises Problem 412, naming what has changed, unless `fields` are those of an expected version; None is any."""
    if expected is None or version_of(fields) in expected:
        return
    errors = [
        FieldError(pointer=f"/{name}", code="changed", detail="This has changed meanwhile.")
        for name in (changed_since(expected[0], fields) if expected else [])
    ]
    raise Problem("precondition_failed", errors=errors, headers=etag_of(fields))


def etag_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """The header field of an answer that shows the object."""
    return {"ETag": f'"{version_of(fields)}"'}


def expected_versions(request: Request) -> list[str] | None:
    """Those of If-Match; None without it, and for `*`.

    A weak tag counts as well: proxies that compress answers make them weak.
    """
    given = request.headers.get("If-Match")
    if given is None or given.strip() == "*":
        return None
    return [tag.removeprefix("W/").strip('"') for tag in parse_etags(given)]


def _piece(name: str, value: Any) -> str:
    text = json.dumps([name, value], sort_keys=True, default=str)
    digest = salted_hmac("rest.versions", text, algorithm="sha256").digest()
    return base64.urlsafe_b64encode(digest[: _PIECE * 3 // 4]).decode()
