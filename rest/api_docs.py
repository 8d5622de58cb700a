"""`/api/schema`, the OpenAPI document, and `/api/docs`, which shows it."""

import threading
from functools import cache

import msgspec
import yaml
from csp.decorators import csp_update
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from rest.openapi import JSON, build_document

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


def _documents() -> tuple[bytes, str]:
    """As JSON and as YAML."""
    with _making:
        return _made()


@cache
def _made() -> tuple[bytes, str]:
    document = build_document()
    text: str = yaml.dump(document, Dumper=_DUMPER, sort_keys=False, allow_unicode=True)
    return msgspec.json.format(msgspec.json.encode(document)), text
