"""The page that the `type` of every problem links to, and those of failures."""

import sys
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views import defaults
from django.views.generic import TemplateView

from core.problems import PROBLEM_TYPES
from rest.problems import as_problem


class ProblemTypesView(TemplateView):
    """Every error code with its status and meaning, an anchor each."""

    template_name = "rest/problem_types.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(problem_types=PROBLEM_TYPES.values(), **kwargs)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler of what nobody caught: 503 for what passes by itself, as when PostgreSQL is away."""
    error = sys.exc_info()[1]
    problem = as_problem(error) if isinstance(error, Exception) else None
    if problem is None or problem.status_code != 503:
        return defaults.server_error(request)
    return HttpResponse(render_to_string("503.html"), status=503, headers=problem.headers)
