"""The filters of a list of events, as its URL carries them: every view is a link that can be shared.

`?type=invoice.*&source=&subject=&delivery_status=dead_letter&status=failed&range=24h&path=customer.id&value=cus_1`
`&before=<event id>`, or with `from=` and `to=` (RFC 3339; without an offset they are UTC) in place of `range`. The form
has one field `outcome` for `delivery_status` and `status`. What cannot be understood is named in `errors` and left out,
so that a mistyped link still shows a page; `typed` keeps it for the form.
"""

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import urlencode
from uuid import UUID

from django.http import QueryDict
from django.utils.dateparse import parse_datetime

from console.events.outcomes import WORDS
from delivery.models import DeliveryStatus
from ingestion.fields import MAX_REFERENCE
from ingestion.models import EventStatus
from ingestion.queries import EventCriteria

RANGES = {
    "15m": ("Last 15 minutes", timedelta(minutes=15)),
    "1h": ("Last hour", timedelta(hours=1)),
    "6h": ("Last 6 hours", timedelta(hours=6)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}
_TEXTS = ("type", "source", "subject", "delivery_status", "status", "path", "value")
# As long as the columns; a path as deep as the intake takes, with room for names.
_MAX_LENGTH = {
    "type": 256,
    "source": MAX_REFERENCE,
    "subject": MAX_REFERENCE,
    "delivery_status": 20,
    "status": 20,
    "path": 500,
    "value": 500,
}
_MAX_DEPTH = 64
_LAST_YEAR = 2999


@dataclass(frozen=True, kw_only=True)
class EventFilters(EventCriteria):
    """`delivery_status`: those with such a delivery. `range` is the name that the time comes from, or empty.

    `errors` has what is wrong by the parameter's name; `typed` the texts before those that are wrong were left out.
    """

    delivery_status: str = ""
    range: str = ""
    errors: dict[str, str] = field(default_factory=dict, compare=False)
    typed: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def is_indexed(self) -> bool:
        return super().is_indexed and not self.delivery_status

    @property
    def is_any(self) -> bool:
        """Whether anything but the position is chosen."""
        return bool(self._parameters())

    def query(self, **changes: Any) -> str:
        """`?…` with the filters as they are but for `changes`; the position only when it is among them."""
        changed = replace(self, **{"before": None, **changes})
        parameters = changed._parameters()
        if changed.before:
            parameters["before"] = str(changed.before)
        return "?" + urlencode(parameters) if parameters else "?"

    @property
    def base_query(self) -> str:
        """What a saved view keeps: without `?` and position."""
        return self.query()[1:]

    def chips(self) -> list[tuple[str, str]]:
        """What is chosen, for people, each with the query that takes it away."""
        found = [
            (f"{name}: {getattr(self, name)}", self.query(**{name: ""}))
            for name in ("type", "source", "subject")
            if getattr(self, name)
        ]
        if self.delivery_status:
            words = WORDS[DeliveryStatus(self.delivery_status)].lower()
            found.append((f"outcome: {words}", self.query(delivery_status="")))
        if self.status:
            found.append((f"outcome: {self.status}", self.query(status="")))
        if self.path:
            found.append((f"data.{self.path} = {self.value}", self.query(path="", value="")))
        if self.range:
            found.append((RANGES[self.range][0].lower(), self.query(range="", time_from=None, time_to=None)))
        elif self.time_from or self.time_to:
            ends = [f"{moment:%Y-%m-%d %H:%M:%S}" if moment else "…" for moment in (self.time_from, self.time_to)]
            found.append((f"{ends[0]} – {ends[1]} UTC", self.query(time_from=None, time_to=None)))
        return found

    def without_data(self) -> Self:
        """For whoever may not read the data: a search in it would tell it, too."""
        if not self.path:
            return self
        errors = {**self.errors, "path": "Your account may not read the data of events or search in it."}
        return replace(self, path="", value="", errors=errors, typed={**self.typed, "path": "", "value": ""})

    def _parameters(self) -> dict[str, str]:
        found = {name: getattr(self, name) for name in _TEXTS}
        if self.range:
            found["range"] = self.range
        else:
            found["from"] = _as_text(self.time_from)
            found["to"] = _as_text(self.time_to)
        return {name: value for name, value in found.items() if value}

    @classmethod
    def read(cls, given: QueryDict, *, now: datetime) -> Self:
        """Never raises: see `errors`."""
        errors: dict[str, str] = {}
        typed = {name: _text(given, name) for name in _TEXTS}
        if chosen_outcome := given.get("outcome", "")[:20]:
            name = "delivery_status" if chosen_outcome in DeliveryStatus.values else "status"
            typed[name] = chosen_outcome.replace("\x00", "")
        texts = _without_wrong(typed, errors)
        chosen = given.get("range", "")
        time_from = time_to = None
        if chosen in RANGES:
            time_from = now - RANGES[chosen][1]
        else:
            if chosen:
                errors["range"] = f"There is no range “{chosen[:20]}”."
            chosen = ""
            time_from, time_to = (_time(given, name, errors) for name in ("from", "to"))
        return cls(
            **texts,
            range=chosen,
            time_from=time_from,
            time_to=time_to,
            before=_id(given, errors),
            errors=errors,
            typed=typed,
        )


def _without_wrong(typed: dict[str, str], errors: dict[str, str]) -> dict[str, str]:
    """`typed` with what is wrong emptied, and added to `errors`."""
    texts = dict(typed)
    if texts["delivery_status"] and texts["delivery_status"] not in DeliveryStatus.values:
        errors["outcome"] = f"There is no outcome “{texts['delivery_status']}”."
        texts["delivery_status"] = ""
    if texts["status"] and texts["status"] not in set(EventStatus):
        errors["outcome"] = f"There is no outcome “{texts['status']}”."
        texts["status"] = ""
    if bool(texts["path"]) != bool(texts["value"]):
        missing = "path" if texts["value"] else "value"
        errors[missing] = "Searching in the data needs both a path and a value."
    elif len(texts["path"].split(".")) > _MAX_DEPTH:
        errors["path"] = f"A path can have at most {_MAX_DEPTH} steps."
    if {"path", "value"} & errors.keys():
        texts["path"] = texts["value"] = ""
    return texts


def _text(given: QueryDict, name: str) -> str:
    """Without what PostgreSQL cannot hold."""
    text = given.get(name, "").replace("\x00", "").strip()[: _MAX_LENGTH[name]]
    return text.encode("utf-8", "ignore").decode()


def _as_text(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat()}Z" if moment else ""


def _time(given: QueryDict, name: str, errors: dict[str, str]) -> datetime | None:
    text = given.get(name, "").strip()
    if not text:
        return None
    try:
        moment = parse_datetime(re.sub(r" (\d\d:\d\d)$", r"+\1", text))
        # No event is older than the epoch of the ids, and bounds are added to.
        if moment is not None and 1970 <= moment.year <= _LAST_YEAR:
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    errors[name] = f"“{text[:40]}” is not a time such as 2026-11-23T10:00:00Z."
    return None


def _id(given: QueryDict, errors: dict[str, str]) -> UUID | None:
    text = given.get("before", "")
    try:
        return UUID(text) if text else None
    except ValueError:
        errors["before"] = "The position in the list is not an event's id, so this is the newest page."
        return None
