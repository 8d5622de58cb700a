"""The routes that the URL conf has."""

import re
from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

Route = tuple[str, str]
_METHODS = ("get", "post", "put", "patch", "delete")


def api_paths() -> list[str]:
    """Every route of the API that needs a key, with an id of nobody in it."""
    return sorted(path for path in walk_routes(get_resolver().url_patterns, "/") if path.startswith("/api/v1/"))


def walk_routes(patterns: list[Any], prefix: str) -> list[str]:
    paths: list[str] = []
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            paths += walk_routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            paths.append(re.sub(r"<(?:uuid|type_name):\w+>", "01900000-0000-7000-8000-000000000000", route))
    return paths


def implemented_operations(patterns: list[Any], prefix: str = "/") -> Iterator[Route]:
    """(method, path) of all that the URL configuration serves below /api/v1."""
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from implemented_operations(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern) and route.startswith("/api/v1/"):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)
            view = pattern.callback.view_class  # type: ignore[attr-defined]
            yield from ((method, path) for method in _METHODS if hasattr(view, method))
