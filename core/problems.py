"""Errors that a client is told of: one registry of stable codes, in the words of RFC 9457. Pure.

Exception
└── Problem          a code of the registry, with detail, field errors and headers

How they are answered is said in rest.problems.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.field_errors import MAX_ERRORS, FieldError


@dataclass(frozen=True, kw_only=True)
class ProblemType:
    """One kind of error: `code` and `status` never change once published."""

    code: str
    status: int
    title: str
    meaning: str


def _types(*rows: tuple[str, int, str, str]) -> dict[str, ProblemType]:
    return {row[0]: ProblemType(code=row[0], status=row[1], title=row[2], meaning=row[3]) for row in rows}


PROBLEM_TYPES = _types(
    ("bad_request", 400, "Bad request", "The request is not valid HTTP for this endpoint."),
    ("malformed_json", 400, "Malformed JSON", "The body is not one valid JSON document in UTF-8."),
    ("invalid_cursor", 400, "Invalid cursor", "The cursor was altered, or comes from another list. Start over."),
    ("missing_api_key", 401, "API key missing", "Send `Authorization: Bearer <key>` or `X-API-Key: <key>`."),
    ("invalid_api_key", 401, "API key invalid", "The key is mistyped or unknown."),
    ("api_key_expired", 401, "API key expired", "The key has passed its expiry. Issue or rotate a key."),
    ("api_key_revoked", 401, "API key revoked", "The key was revoked. Use another one."),
    ("insufficient_scope", 403, "Scope missing", "The key does not have the scope that this needs."),
    ("organization_suspended", 403, "Organization suspended",
     "The people who run the platform have suspended the organization, and only they can resume it. Until then its keys"
     " are good for `GET /api/v1/organization` alone, and nothing is delivered."),
    ("permission_denied", 403, "Permission denied", "This is not allowed for this caller."),
    ("not_found", 404, "Not found", "There is no such object in your organization, or no such path."),
    ("method_not_allowed", 405, "Method not allowed", "The path exists, but not with this method; see `Allow`."),
    ("request_timeout", 408, "Request timeout", "The request did not arrive in time. Send it again, in one go."),
    ("idempotency_key_reused", 409, "Idempotency key reused",
     "The key was used for an event with other content. Use a new key for a new event."),
    ("event_type_exists", 409, "Event type exists",
     "The organization has described an event type of this name already. Change it with `PATCH`."),
    ("inbox_exists", 409, "Inbox exists", "The organization has an inbox of this name already."),
    ("wrong_state", 409, "Wrong state",
     "The object is of a kind, or in a state, that does not allow this; `detail` says why."),
    ("limit_reached", 409, "Limit reached", "The organization has as many of these as it can have. Delete one first."),
    ("event_erased", 410, "Event erased",
     "The event with this idempotency key was stored, and has been erased since or has passed its retention period."
     " Nothing was stored; use a new key for a new event."),
    ("precondition_failed", 412, "Changed meanwhile",
     "The object is not what it was when you read it: `If-Match` names another version, and nothing was changed."
     " `errors` names what has changed. Read it again."),
    ("payload_too_large", 413, "Payload too large", "The body is larger than this endpoint takes."),
    ("uri_too_long", 414, "URI too long", "The path and the query are longer than the server reads."),
    ("unsupported_media_type", 415, "Unsupported media type",
     "Send the body as `application/json` in UTF-8, or in another format that the endpoint takes."),
    ("validation_failed", 422, "Validation failed", "Fields are wrong or unknown; `errors` names each of them."),
    ("headers_required", 422, "Header values required",
     "Another scheme, host or port is another endpoint: stored header values go there only when they are given again."
     " `errors` names them."),
    ("rate_limited", 429, "Too many requests", "Wait for the seconds of `Retry-After`, then try again."),
    ("too_many_streams", 429, "Too many streams",
     "The organization has as many event streams, or waiting leases, open at this server as it can have. Close one, or"
     " try again after `Retry-After`."),
    ("cpu_time_spent", 429, "CPU time spent",
     "The organization's schemas or large bodies have taken their share of CPU time: this was not taken. Try again"
     " after `Retry-After`."),
    ("header_too_large", 431, "Header too large", "The request has too many header fields, or too long ones."),
    ("internal_error", 500, "Internal error", "A fault of the platform. Nothing was acknowledged; try again."),
    ("not_implemented", 501, "Not implemented", "The request needs a part of HTTP that the server does not have."),
    ("service_unavailable", 503, "Service unavailable",
     "The platform cannot store anything right now. Nothing was acknowledged; try again after `Retry-After`."),
)  # fmt: skip

_BY_STATUS = {
    400: "bad_request", 401: "invalid_api_key", 403: "permission_denied", 404: "not_found", 405: "method_not_allowed",
    408: "request_timeout", 413: "payload_too_large", 414: "uri_too_long", 415: "unsupported_media_type",
    422: "validation_failed", 429: "rate_limited", 431: "header_too_large", 501: "not_implemented",
    503: "service_unavailable",
}  # fmt: skip


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """An error that the client is told of; `code` is one of PROBLEM_TYPES."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.problem_type = PROBLEM_TYPES[code]
        self.status_code = self.problem_type.status
        self.detail = detail or self.problem_type.meaning
        self.errors = tuple(errors[:MAX_ERRORS])
        self.headers = dict(headers or {})
        super().__init__(code, self.detail)

    def __str__(self) -> str:
        return self.detail


def invalid(pointer: str, code: str, detail: str) -> Problem:
    """422 for one wrong field."""
    return Problem("validation_failed", errors=[FieldError(pointer=pointer, code=code, detail=detail)])


def problem_for_status(status: int) -> Problem:
    """The most general problem of an HTTP status."""
    return Problem(_BY_STATUS.get(status, "internal_error" if status >= 500 else "bad_request"))
