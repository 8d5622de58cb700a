"""Exports: start one, watch it, fetch its file."""

from collections.abc import Iterator
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone

from console.access import Action, OrganizationContext
from console.events.filters import EventFilters
from console.exports.files import CONTENT_TYPES
from console.exports.jobs import (
    MAX_EVENTS,
    cancel_export,
    create_export,
    download_token,
    export_part,
    filters_of,
    is_download_token,
    note_download,
)
from console.models import Export, ExportFormat, ExportStatus
from console.pages import READ, WRITE, organization_page
from console.paging import newest_page
from console.rendering import in_section, permissions
from core.problems import Problem
from organizations.audit import actor_of
from rest.large_answers import Slot, sent

# A file has some 2 GiB at most.
_DOWNLOAD_SECONDS = 3600.0
_render = in_section("exports")


@organization_page(Action.SEE_EXPORTS)
def exports(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """The organization's, newest first."""
    rows = Export.objects.for_organization(place.organization.pk).select_related("created_by")
    return _render(request, place, "console/exports/exports.html", {"page": newest_page(rows, request)})


@organization_page(Action.EXPORT_EVENTS, methods=READ + WRITE)
def create(request: HttpRequest, place: OrganizationContext) -> HttpResponse:
    """The query is that of the list of events; the form asks for the format."""
    place.require(Action.SEE_PAYLOADS)
    given = QueryDict(request.POST.get("query", "")) if request.method == "POST" else request.GET
    wanted = EventFilters.read(given, now=timezone.now())
    problem = None
    # What could not be understood is left out of `wanted`: more would be exported than was asked for.
    is_clear = request.POST.get("format") in ExportFormat.values and not wanted.errors
    if request.method == "POST" and is_clear:
        try:
            export = create_export(
                organization=place.organization,
                user=place.user,
                wanted=wanted,
                kind=ExportFormat(request.POST["format"]),
                actor=actor_of(request),
                now=timezone.now(),
            )
        except Problem as error:
            problem = error
        else:
            return redirect("console:export", place.organization.slug, export.pk)
    context = {"wanted": wanted, "formats": ExportFormat.choices, "problem": problem, "most": MAX_EVENTS}
    status = 200 if request.method != "POST" else problem.status_code if problem else 422
    return _render(request, place, "console/exports/create.html", context, status)


@organization_page(Action.SEE_EXPORTS)
def export(request: HttpRequest, place: OrganizationContext, export_id: UUID) -> HttpResponse:
    """How far it is, then the link to its file; with `?part` only that, for htmx."""
    found = _export_or_404(place, export_id)
    is_there = has_file(found) and place.may(Action.SEE_PAYLOADS)
    context = {
        "export": found,
        "organization": place.organization,
        "may": permissions(place),
        "is_running": found.is_running,
        "download": _download_url(place, found) if is_there else None,
        "chips": filters_of(found).chips(),
        "most": MAX_EVENTS,
    }
    if "part" in request.GET:
        return render(request, "console/exports/_bar.html", context)
    return _render(request, place, "console/exports/export.html", context)


@organization_page(Action.EXPORT_EVENTS, methods=READ + WRITE)
def cancel(request: HttpRequest, place: OrganizationContext, export_id: UUID) -> HttpResponse:
    """Asks first."""
    found = _export_or_404(place, export_id)
    if request.method != "POST":
        return _render(request, place, "console/exports/cancel.html", {"export": found})
    if cancel_export(export=found, actor=actor_of(request), now=timezone.now()):
        messages.success(request, "The export was canceled." if found.is_running else "The file was deleted.")
    else:
        messages.error(request, "The export had already ended.")
    return redirect("console:export", place.organization.slug, found.pk)


@organization_page(Action.SEE_EXPORTS)
def download(request: HttpRequest, place: OrganizationContext, export_id: UUID) -> StreamingHttpResponse:
    """The file, part by part. The link ends after a day, and so does the file."""
    place.require(Action.SEE_PAYLOADS)
    found = _export_or_404(place, export_id)
    if not has_file(found) or not is_download_token(request.GET.get("key", ""), found):
        raise Http404
    slot = Slot(place.organization.pk.int)
    if not slot.take():
        raise Problem(
            "service_unavailable",
            "Many large downloads are in progress. Try again in a minute.",
            headers={"Retry-After": "60"},
        )
    note_download(export=found, actor=actor_of(request))
    name = f"events-{place.organization.slug}-{found.created_at:%Y%m%d-%H%M%S}.{found.format}"
    return StreamingHttpResponse(
        # An iterator that is not asynchronous would be read into memory as a whole first.
        sent(_parts(found), slot, seconds=_DOWNLOAD_SECONDS),
        content_type=CONTENT_TYPES[ExportFormat(found.format)],
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Length": str(found.size),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        },
    )


def has_file(found: Export) -> bool:
    """Also false in the hour before an expired file is removed."""
    is_kept = found.expires_at is not None and found.expires_at > timezone.now()
    return found.status == ExportStatus.DONE and is_kept


def _parts(found: Export) -> Iterator[bytes]:
    for number in range(found.parts):
        yield export_part(found.pk, number)


def _download_url(place: OrganizationContext, found: Export) -> str:
    path = reverse("console:download-export", args=[place.organization.slug, found.pk])
    return f"{path}?{urlencode({'key': download_token(found)})}"


def _export_or_404(place: OrganizationContext, export_id: UUID) -> Export:
    rows = Export.objects.for_organization(place.organization.pk).select_related("organization", "created_by")
    return get_object_or_404(rows, pk=export_id)
