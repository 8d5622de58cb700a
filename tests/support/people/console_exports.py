"""Exports that are made through the console."""

from console.exports.jobs import run_exports
from console.models import Export
from tests.support.people.console_site import Site


def begin(member: Site, query: str = "", kind: str = "ndjson") -> Export:
    page = member.follow("exports/new", query=query, format=kind)
    export = Export.objects.for_organization(member.organization.pk).order_by("-pk")[0]
    assert f"exports/{export.pk}/" in page
    return export


def finish(export: Export) -> Export:
    run_exports(seconds=10)
    export.refresh_from_db()
    return export
