"""`/api/schema`, the OpenAPI document, `/api/docs`, which shows it, and `/llms.txt`, which sums it up."""

import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
import yaml
from csp.decorators import csp_update
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from core.problems import PROBLEM_TYPES
from rest.openapi import JSON
from rest.openapi.document import build_document

# Made once in a process, by one request however many want it: half a second of CPU. libyaml takes a seventh of what
# Python's own writer does.
_making = threading.Lock()
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@require_safe
def schema(request: HttpRequest) -> HttpResponse:
    """The document as JSON, or with `?format=yaml` as YAML. It is the same for everyone, and needs no key."""
    if request.GET.get("format") == "yaml":
        return HttpResponse(_documents()[1], content_type="application/yaml")
    return HttpResponse(_documents()[0], content_type=JSON)


@csp_update({"style-src": ["'unsafe-inline'"]})
@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """Swagger UI from our own files. It sets styles on its elements, so this page alone allows inline styles."""
    return render(request, "api_docs.html")


@require_safe
def llms(request: HttpRequest) -> HttpResponse:
    """The API as plain Markdown, for programs that read prose."""
    return HttpResponse(_documents()[2], content_type="text/plain; charset=utf-8")


def _documents() -> tuple[bytes, str, str]:
    """As JSON, as YAML, and summed up."""
    with _making:
        return _made()


@cache
def _made() -> tuple[bytes, str, str]:
    document = build_document()
    text: str = yaml.dump(document, Dumper=_DUMPER, sort_keys=False, allow_unicode=True)
    return msgspec.json.format(msgspec.json.encode(document)), text, "\n\n".join(_summary(document)) + "\n"


def _summary(document: dict[str, Any]) -> Iterator[str]:
    info, paths = document["info"], document["paths"]
    yield f"# {info['title']}\n\n> {info['description']}"
    yield "The whole of this, with every schema and example, is the OpenAPI document at /api/schema."
    for tag in document["tags"]:
        yield f"## {tag['name']}\n\n{tag['description']}"
        for path, item in paths.items():
            for method, operation in item.items():
                if tag["name"] in operation["tags"]:
                    yield f"### {operation['summary']}\n\n`{method.upper()} {path}`\n\n{operation['description']}"
    codes = (f"- `{kind.code}` ({kind.status}): {kind.meaning}" for kind in PROBLEM_TYPES.values())
    yield "## Errors\n\n" + "\n".join(codes)
