"""Sessions in PostgreSQL, as Django's are; a cookie that no session can have is none."""

from typing import Any

from django.contrib.sessions.backends import db

# Of Django's own keys: 32 of a-z0-9.
_LONGEST = 40


class SessionStore(db.SessionStore):
    """A cookie is anyone's text, and may hold what PostgreSQL cannot look up."""

    def _validate_session_key(self, key: Any) -> bool:
        return (
            bool(super()._validate_session_key(key)) and key.isascii() and key.isalnum() and len(key) <= _LONGEST  # type: ignore[misc] # of no stub
        )
