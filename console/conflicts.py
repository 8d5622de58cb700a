"""A form that was opened before somebody else changed its object: nobody undoes a change unseen.

The form carries the object's version (rest.versions) in a hidden field. When that is not the object's any more, nothing
is saved: the page shows what is there now with what the person has changed, which stays as it was typed, and says what
somebody else did. Whoever looks at that and saves again has seen it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.http import HttpRequest

from core.problems import Problem
from rest.versions import changed_since, version_of


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A field that somebody else has changed: what is there now, and whether the form has what was typed instead."""

    label: str
    now: str
    is_typed_over: bool


def opened_version(request: HttpRequest) -> list[str] | None:
    """The version that the form was opened with, as the operations expect it; None when it carries none."""
    given = request.POST.get("version")
    return [given] if given else None


def shown_version(request: HttpRequest, fields: Mapping[str, Any]) -> str:
    """For a form that shows the object as it is; one that comes back for a correction keeps what it was opened with."""
    return request.POST.get("version") or version_of(fields)


def is_conflict(problem: Problem) -> bool:
    return problem.problem_type.code == "precondition_failed"


def merge(
    typed: forms.Form, fresh: forms.Form, *, fields: Mapping[str, Any], wanted: Mapping[str, Any]
) -> list[Changed]:
    """Put what the person has changed into `fresh`, a form of the object as it is now, whose fields are `fields`.

    `wanted` are the fields as `typed` would set them. `parts` of `fresh` names the fields of a form that are for one of
    `fields` together; the first stands for all of them. Returns what somebody else has changed.
    """
    opened = typed.data.get("version", "")
    after = {name: wanted.get(name, value) for name, value in fields.items()}
    theirs, mine = changed_since(opened, fields), changed_since(opened, after)
    if not theirs:  # what came is no version of such an object
        theirs = mine = changed_since(version_of(fields), after)
    parts = getattr(fresh, "parts", {})
    shown = {name: [each for each in parts.get(name, [name]) if each in fresh.fields] for name in fields}
    changed = [_changed(fresh, shown[name][0], is_typed_over=name in mine) for name in theirs if shown[name]]
    fresh.initial.update({each: typed.data.get(each, "") for name in mine for each in shown[name]})
    return changed


def _changed(fresh: forms.Form, name: str, *, is_typed_over: bool) -> Changed:
    now = fresh.fields[name].prepare_value(fresh.initial.get(name))
    return Changed(label=str(fresh[name].label), now=str(now), is_typed_over=is_typed_over)
