"""What an answer says that is an error, and what no answer says."""

from __future__ import annotations

import httpx
import msgspec

from events_client.errors import NotReachableError, ProblemError
from events_client.retrying import retry_after_of
from events_client.shapes import Problem


def problem_of(answer: httpx.Response) -> ProblemError:
    """What an answer that is an error says; a page of a proxy, which is no problem document, gives `http_<status>`."""
    try:
        told = msgspec.json.decode(answer.content, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = Problem(
            code=f"http_{answer.status_code}",
            status=answer.status_code,
            detail=f"{answer.url} answered {answer.status_code} {answer.reason_phrase}, and not as the platform does.",
        )
    return ProblemError(
        status=answer.status_code,
        code=told.code,
        title=told.title,
        detail=told.detail,
        errors=told.errors,
        request_id=told.request_id or answer.headers.get("request-id"),
        retry_after=retry_after_of(answer.headers),
    )


def unreachable(url: str, error: httpx.TransportError) -> NotReachableError:
    """What happened, and what to do about it."""
    reason = str(error) or type(error).__name__
    return NotReachableError(f"{url} gives no answer ({reason}). Is the address right, and does the platform run?")
