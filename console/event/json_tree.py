"""Data as foldable HTML: open at the first level, folded below it. Works without a script."""

import json
from typing import Any

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

# More than this is neither read by anyone nor quick in a browser; the raw data is a link away.
MAX_SHOWN_BYTES = 100_000
MAX_NODES = 2_000
_PREVIEW = 60
# A longer string is folded.
_LONG = 300


class _Number(str):
    """A number as it is stored: floats would change it."""

    __slots__ = ()


class _Members(list[tuple[str, Any]]):
    """Those of an object, as a name may be there twice."""

    __slots__ = ()


class _TooManyError(Exception):
    """The tree has more than MAX_NODES nodes."""


def json_tree(text: str) -> SafeString | None:
    """The HTML of JSON text; None when it is too large to show."""
    if len(text) > MAX_SHOWN_BYTES:
        return None
    value = json.loads(text, parse_int=_Number, parse_float=_Number, object_pairs_hook=_Members)
    parts: list[str] = []
    try:
        _write(value, parts, depth=0)
    except _TooManyError:
        return None
    # Everything that comes from the data went through escape().
    return mark_safe(f'<div class="json">{"".join(parts)}</div>')  # noqa: S308


def _write(value: Any, parts: list[str], *, depth: int) -> None:
    if len(parts) > MAX_NODES * 4:
        raise _TooManyError
    if isinstance(value, _Members) and value:
        _open(parts, depth, f"{{ {_names(value)} }}", len(value))
        for name, item in value:
            parts.append(f'<li><span class="json-name">{escape(json.dumps(name, ensure_ascii=False))}</span>: ')
            _write(item, parts, depth=depth + 1)
            parts.append("</li>")
        _close(parts, depth)
    elif isinstance(value, list) and not isinstance(value, _Members) and value:
        _open(parts, depth, f"[ {len(value)} ]", len(value))
        for item in value:
            parts.append("<li>")
            _write(item, parts, depth=depth + 1)
            parts.append("</li>")
        _close(parts, depth)
    else:
        parts.append(_leaf(value))


def _open(parts: list[str], depth: int, preview: str, size: int) -> None:
    if depth:
        noun = "entry" if size == 1 else "entries"
        title = f"{size} {noun}"
        parts.append(f'<details><summary title="{title}">{escape(preview)}</summary>')
    parts.append("<ul>")


def _close(parts: list[str], depth: int) -> None:
    parts.append("</ul>")
    if depth:
        parts.append("</details>")


def _names(value: _Members) -> str:
    text = ", ".join(name for name, _ in value)
    return text if len(text) <= _PREVIEW else text[:_PREVIEW] + "…"


def _leaf(value: Any) -> str:
    if isinstance(value, _Number):
        kind, text = "number", str(value)
    elif isinstance(value, str):
        kind, text = "string", json.dumps(value, ensure_ascii=False)
        if len(text) > _LONG:
            return _folded(text)
    else:
        kind, text = "word", "{}" if isinstance(value, _Members) else json.dumps(value)
    return f'<span class="json-{kind}">{escape(text)}</span>'


def _folded(text: str) -> str:
    title = f"{len(text):,} characters".replace(",", " ")
    summary = f'{escape(text[:_PREVIEW])}… <span class="tag">{title}</span>'
    return f'<details><summary>{summary}</summary><span class="json-string">{escape(text)}</span></details>'
