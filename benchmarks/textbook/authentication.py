import hashlib

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from benchmarks.textbook.models import ApiKey, Organization


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer <key>`, found by its SHA-256; the organization is the user."""

    def authenticate(self, request: Request) -> tuple[Organization, ApiKey] | None:
        parts = get_authorization_header(request).split()
        if len(parts) != 2 or parts[0].lower() != b"bearer":
            return None
        digest = hashlib.sha256(parts[1]).hexdigest()
        try:
            key = ApiKey.objects.select_related("organization").get(key_hash=digest, revoked_at=None)
        except ApiKey.DoesNotExist:
            raise AuthenticationFailed("Unknown API key.") from None
        return key.organization, key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
