"""The page that the `type` of every problem links to."""

from typing import Any

from django.views.generic import TemplateView

from rest.problems import PROBLEM_TYPES


class ProblemTypesView(TemplateView):
    """Every error code with its status and meaning, an anchor each."""

    template_name = "rest/problem_types.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(problem_types=PROBLEM_TYPES.values(), **kwargs)
