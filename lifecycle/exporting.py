"""Everything of an organization as NDJSON: one file for each kind of row, with a manifest. Never keys or secrets."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from uuid import UUID

import msgspec
from django.db import transaction
from django.db.models import BinaryField, Field, Model, OuterRef, Subquery

from core.event_ids import LOWEST_ID
from core.times import format_time
from delivery.attempts.records import unpack
from delivery.endpoints.sealed_auth import show_auth
from delivery.endpoints.sealed_headers import show_headers
from delivery.models import Attempt, Delivery, DeliveryStatus, Subscription
from ingestion.models import Event, JSONTextField
from lifecycle.erasing.organization import models_of_organizations
from notifications.models import SlackChannel
from organizations.models import Membership, Organization

ROWS_PER_PAGE = 2_000
# Of events and schemas, which have up to 256 KiB each, and of what holds an endpoint's answer, up to 20 KiB.
LARGE_ROWS_PER_PAGE = 100
MANIFEST = "manifest.json"
# What opens something: hashes and ciphertexts too. Binary columns are left out altogether.
_SECRET = {(Subscription, "secret"), (Subscription, "previous_secret"), (SlackChannel, "url")}


class Target(Protocol):
    """Where the files go."""

    def file(self, name: str) -> AbstractContextManager[BinaryIO]: ...


@dataclass(frozen=True, kw_only=True)
class Folder:
    path: Path

    @contextmanager
    def file(self, name: str) -> Iterator[BinaryIO]:
        with (self.path / name).open("xb") as file:
            yield file


@dataclass(frozen=True, kw_only=True)
class Archive:
    archive: zipfile.ZipFile

    @contextmanager
    def file(self, name: str) -> Iterator[BinaryIO]:
        with self.archive.open(name, "w", force_zip64=True) as file:
            yield file  # type: ignore[misc]


def export_organization(
    *, organization: Organization, target: Target, now: datetime, told: Callable[[str, int], None]
) -> dict[str, Any]:
    """Write the files, in constant memory; returns the manifest. `told` gets each file's name and its rows so far.

    Each file shows its table while it was written; what came meanwhile may be in one file and not in another.
    """
    files = []
    kinds: list[type[Model]] = [Organization, *models_of_organizations()]
    for model in kinds:
        name = f"{model._meta.app_label}_{model._meta.model_name}.ndjson"
        digest, rows, size = hashlib.sha256(), 0, 0
        with target.file(name) as file:
            for line in _lines(model, organization):
                file.write(line)
                digest.update(line)
                rows, size = rows + 1, size + len(line)
                if rows % ROWS_PER_PAGE == 0:
                    told(name, rows)
        told(name, rows)
        files.append({"name": name, "rows": rows, "bytes": size, "sha256": digest.hexdigest()})
    manifest = {"organization": str(organization.pk), "made_at": format_time(now), "files": files}
    with target.file(MANIFEST) as file:
        file.write(json.dumps(manifest, indent=2).encode() + b"\n")
    return manifest


def _lines(model: type[Model], organization: Organization) -> Iterator[bytes]:
    fields = [field for field in model._meta.concrete_fields if _is_shown(model, field)]
    for row in _rows(model, organization):
        members = {field.attname: _value(field, getattr(row, field.attname)) for field in fields}
        if isinstance(row, Event):
            del members["data_text"], members["data_jsonb"]
            members["data"] = msgspec.Raw(row.data.encode())
        if isinstance(row, Subscription):
            members |= {"headers": show_headers(row.headers), "auth": show_auth(row.auth)}
        if isinstance(row, Delivery):
            members["first_attempt"] = row.first_attempt and unpack(row.first_attempt, event_id=row.event_id)
        if isinstance(row, Attempt):
            event_id: UUID | None = row.event_id  # type: ignore[attr-defined] # annotated below
            members["record"] = row.record and event_id and unpack(row.record, event_id=event_id)
        if isinstance(row, Membership):
            members |= {"username": row.user.get_username(), "email": row.user.email}
        yield msgspec.json.encode(members) + b"\n"


def _is_shown(model: type[Model], field: "Field[Any, Any]") -> bool:
    return not isinstance(field, BinaryField) and (model, field.name) not in _SECRET and field.name != "pk"


def _value(field: "Field[Any, Any]", value: Any) -> Any:
    if value is None:
        return None
    if isinstance(field, JSONTextField):
        return msgspec.Raw(value.encode())
    return format_time(value) if isinstance(value, datetime) else value


def _rows(model: type[Model], organization: Organization) -> Iterator[Model]:
    if model is Organization:
        yield organization
    elif model is Event:
        events = Event.objects.for_organization(organization.pk).order_by("organization", "pk")
        yield from _pages(events, size=LARGE_ROWS_PER_PAGE)
    elif model in (Delivery, Attempt):
        for pk in Subscription.objects.for_organization(organization.pk).order_by("pk").values_list("pk", flat=True):
            yield from _of_subscription(model, organization, pk)
    else:
        rows = model._default_manager.filter(organization=organization.pk)
        if model is Membership:
            rows = rows.select_related("user")
        # A cursor on the server needs a transaction. These tables are small: only events and deliveries take long.
        with transaction.atomic():
            yield from rows.order_by().iterator(chunk_size=LARGE_ROWS_PER_PAGE)


def _of_subscription(model: type[Model], organization: Organization, subscription_id: UUID) -> Iterator[Model]:
    if model is Attempt:
        attempts = Attempt.objects.for_organization(organization.pk).filter(subscription_id=subscription_id)
        event_ids = Delivery.objects.filter(pk=OuterRef("delivery_id")).values("event_id")
        annotated = attempts.annotate(event_id=Subquery(event_ids)).order_by("subscription_id", "pk")
        yield from _pages(annotated, size=LARGE_ROWS_PER_PAGE)
    else:
        deliveries = Delivery.objects.for_organization(organization.pk).filter(subscription=subscription_id)
        for status in DeliveryStatus:
            rows = deliveries.filter(status=status).order_by("subscription_id", "status", "pk")
            yield from _pages(rows, size=LARGE_ROWS_PER_PAGE)


def _pages(rows: Any, *, size: int = ROWS_PER_PAGE) -> Iterator[Model]:
    """By short statements, each from where the one before ended: a long one would hold up retention."""
    last = LOWEST_ID
    while page := list(rows.filter(pk__gt=last)[:size]):
        yield from page
        last = page[-1].pk
