"""How errors are answered: RFC 9457 `application/problem+json`, also for the errors of Django, DRF and PostgreSQL."""

import logging
from typing import Any

import psycopg
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import ProgrammingError
from django.http import Http404, HttpResponse
from msgspec import json
from rest_framework import exceptions
from rest_framework.response import Response

from core.postgresql.faults import is_passing
from core.problems import Problem, problem_for_status

logger = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"


def describe_problem(problem: Problem) -> dict[str, Any]:
    """The problem document without a request: what went wrong with one item of a batch."""
    kind = problem.problem_type
    body: dict[str, Any] = {
        "type": f"{settings.PUBLIC_URL}/docs/errors#{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": str(problem.detail),
        "code": kind.code,
    }
    if problem.errors:
        body["errors"] = [vars(error) for error in problem.errors]
    return body


def problem_body(problem: Problem, request_id: str) -> dict[str, Any]:
    """The members of the problem document."""
    return {**describe_problem(problem), "request_id": request_id}


def problem_response(problem: Problem, request_id: str) -> HttpResponse:
    """A plain Django answer, for errors outside of DRF."""
    content = json.encode(problem_body(problem, request_id))
    # The middleware that would say its length has seen another answer.
    headers = {**problem.headers, "Content-Length": str(len(content))}
    return HttpResponse(content, status=problem.status_code, content_type=MEDIA_TYPE, headers=headers)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's hook: every error of a view becomes a problem; None (an unforeseen fault) goes on to Django's 500."""
    problem = as_problem(error)
    if problem is None:
        return None
    body = problem_body(problem, context["request"].request_id)
    return Response(body, status=problem.status_code, headers=problem.headers, content_type=MEDIA_TYPE)


def as_problem(error: Exception) -> Problem | None:
    """The problem that the client is told of; None for a fault that nobody foresaw."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, Http404):
        return Problem("not_found")
    if isinstance(error, PermissionDenied):
        return Problem("permission_denied")
    if isinstance(error, exceptions.APIException):
        return problem_for_status(error.status_code)
    # A table that is missing would pass too, with an upgrade, but nobody should have to guess that from a 503.
    if is_passing(error) and not isinstance(error, ProgrammingError | psycopg.ProgrammingError):
        logger.error("PostgreSQL is away: %s", error)
        return Problem("service_unavailable", headers={"Retry-After": "1"})
    return None
