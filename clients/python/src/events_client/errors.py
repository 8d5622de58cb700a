"""What can go wrong, as one tree:

EventsClientError
├── ConfigurationError        no address, no key, or an unusable one
├── InvalidEventError         an event that cannot be written as JSON
├── NotReachableError         no answer came
├── ProblemError              the platform answered with an error; `code` is stable
├── WebhookVerificationError  a webhook that nobody with the secret signed just now
├── BufferFullError           no room in a buffer
├── BufferStoppedError        a buffer that cannot send any more; nothing of it was dropped
└── EventsRefusedError        events of a buffer that the platform refused
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from events_client.shapes import RefusedEvent


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field: a JSON pointer, a stable code, a sentence."""

    pointer: str = ""
    code: str = ""
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.pointer or '/'}: {self.detail or self.code}"


class EventsClientError(Exception):
    """Every error that this package raises on its own account."""


class ConfigurationError(EventsClientError, ValueError):
    """The address or the API key is missing or cannot be used."""


class InvalidEventError(EventsClientError, ValueError):
    """The event cannot be written as JSON that says the same; nothing was sent."""


class NotReachableError(EventsClientError):
    """No answer came, in as many attempts as there was time for. A send may or may not have arrived."""


class ProblemError(EventsClientError):
    """The platform answered with an error. Branch on `code`, which is stable; docs/errors.md lists all of them.

    `status` is HTTP's; `errors` names the wrong fields of a bad input; `request_id` is for questions to those who run
    the platform; `retry_after` is in seconds, None where the answer did not say.
    """

    def __init__(
        self,
        *,
        status: int,
        code: str,
        title: str = "",
        detail: str = "",
        errors: Sequence[FieldError] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)
        self.request_id = request_id
        self.retry_after = retry_after
        named = "".join(f"\n  {error}" for error in self.errors)
        asked = f" (request {request_id})" if request_id else ""
        super().__init__(f"{code}: {detail or title or f'HTTP {status}'}{asked}{named}")


class WebhookVerificationError(EventsClientError):
    """The request was not signed with the secret just now, so nothing in it can be trusted. Answer 400."""


class BufferFullError(EventsClientError):
    """The buffer holds as much as it may; the event was not taken."""


class BufferStoppedError(EventsClientError):
    """The buffer cannot send: the key is refused, or its time to close is over. `unsent` are events as JSON text.

    They have their idempotency keys: sending them again is safe, also those that arrived.
    """

    def __init__(self, message: str, unsent: Sequence[bytes] = ()) -> None:
        self.unsent = tuple(unsent)
        super().__init__(message)


class EventsRefusedError(EventsClientError):
    """The platform refused events of the buffer; all others were taken. `refused` has each, and why."""

    def __init__(self, refused: Sequence[RefusedEvent]) -> None:
        self.refused = tuple(refused)
        first = self.refused[0].problem
        super().__init__(f"{len(self.refused)} events were refused, the first one with {first}")
