"""Exports that are made through the console."""

from typing import Any
from unittest import mock

from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User
from django.test import AsyncClient

from console.exports.jobs import run_exports
from console.models import Export
from rest import large_answers
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


def fetch(user: User, link: str) -> tuple[int, bytes, Any]:
    """As a web server does it: asynchronously, but in the thread that sees this test's transaction."""
    client = AsyncClient()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")

    async def get() -> tuple[int, bytes, Any]:
        answer: Any = await client.get(link)
        if not answer.streaming:
            return answer.status_code, answer.content, answer
        return answer.status_code, b"".join([part async for part in answer.streaming_content]), answer

    with mock.patch.object(
        large_answers, "for_streams", lambda read, _: sync_to_async(lambda *given: (read(*given), 0.0))
    ):
        return async_to_sync(get)()
