"""`/api/schema`, the OpenAPI document, and `/api/docs`, which shows it."""

from functools import cache

import msgspec
import yaml
from csp.decorators import csp_update
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from rest.openapi import JSON, build_document


@require_safe
def schema(request: HttpRequest) -> HttpResponse:
    """The document as JSON, or with `?format=yaml` as YAML. It is the same for everyone, and needs no key."""
    if request.GET.get("format") == "yaml":
        return HttpResponse(_document_as_yaml(), content_type="application/yaml")
    return HttpResponse(_document_as_json(), content_type=JSON)


@csp_update({"style-src": ["'unsafe-inline'"]})
@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """Swagger UI from our own files. It sets styles on its elements, so this page alone allows inline styles."""
    return render(request, "api_docs.html")


@cache
def _document_as_json() -> bytes:
    return msgspec.json.format(msgspec.json.encode(build_document()))


@cache
def _document_as_yaml() -> str:
    text: str = yaml.safe_dump(build_document(), sort_keys=False, allow_unicode=True)
    return text
