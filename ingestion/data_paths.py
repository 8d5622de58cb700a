"""Where in an event's data a value is looked for: by its path, or anywhere. Pure.

A path is `customer.id`, `items.0.sku`, or with brackets `items[0].sku` and `items[*].sku`, which stands for each.
"""

import json
import re
from typing import Any

_NAME = r"[^\W\d][\w$@-]*"
_STEP = r"\.[\w$@-]+|\[(?:\d{1,9}|\*)\]"
_ASSIGNED = re.compile(rf"(?:data\.)?({_NAME}(?:{_STEP})*)\s*=\s*(?!=)(\S.*)", re.DOTALL)
_BRACKET = re.compile(r"\[(\d{1,9}|\*)\]")


def split_assignment(text: str) -> tuple[str, str] | None:
    """`lines[*].sku = S-1` → the path and the value as it was typed; None for what is no such thing."""
    found = _ASSIGNED.fullmatch(text.strip())
    return (found[1], found[2].strip()) if found else None


def steps_of(path: str) -> list[str]:
    """`lines[*].sku` → `["lines", "*", "sku"]`; in brackets a number is an index, elsewhere also a name."""
    return [step for step in _BRACKET.sub(r".\1", path).split(".") if step]


def has_brackets(path: str) -> bool:
    """Whether it needs SQL/JSON: PostgreSQL's own paths know no `[*]`."""
    return _BRACKET.search(path) is not None


def json_path(path: str) -> str:
    """As SQL/JSON, for values that are equal to `$typed` or `$text`."""
    pieces = re.split(r"(\[(?:\d{1,9}|\*)\])|\.", path)
    steps = [piece if _BRACKET.fullmatch(piece) else f".{_quoted(piece)}" for piece in pieces if piece]
    return f"lax ${''.join(steps)} ? (@ == $typed || @ == $text)"


def json_path_anywhere(text: str) -> str:
    """As SQL/JSON: strings that hold `text`, and numbers that are equal to `$typed`."""
    holds = f'@.type() == "string" && @ like_regex {_quoted(text)} flag "q"'
    return f'strict $.** ? (({holds}) || (@.type() == "number" && @ == $typed))'


def typed_and_text(text: str) -> tuple[str, str]:
    """What was typed as JSON if it is some, and as a string: `12900` finds 12900 and "12900"."""
    as_string = json.dumps(text)
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return as_string, as_string
    return text, as_string


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _refuse(name: str) -> Any:
    raise ValueError(name)
