"""What is wrong with a field of a request, and how much of the request an answer quotes. Pure.

Whatever text of a client goes into an answer goes through `cut`, so that nobody is told more than MAX_QUOTED characters
of what he sent, however long a name was, and however often it is wrong.
"""

import re
from dataclasses import dataclass
from typing import Any

from msgspec import Meta

MAX_QUOTED = 100
# Of one problem; what is wrong beyond these shows when they are mended.
MAX_ERRORS = 20

_UNKNOWN, _MISSING = "Object contains unknown field `", "Object missing required field `"
_NO_MATCH = "Expected `str` matching regex "
# What the patterns of fields mean, by their texts as msgspec quotes them.
_MEANINGS: dict[str, str] = {}
# What msgspec puts behind its sentence, and the path in it: names of our structs, indexes, `[...]` for a key.
_AT = (" - at `$", " - at `key` in `$")
_PATH = re.compile(r"(?:\.\w+|\[(?:\d+|\.\.\.)\])+", re.ASCII)
_STEP = re.compile(r"\w+|\.\.\.", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class FieldError:
    """What is wrong with one field: a JSON pointer (RFC 6901), a stable code, a sentence."""

    pointer: str
    code: str
    detail: str

    def __post_init__(self) -> None:
        if len(self.pointer) > MAX_QUOTED:
            object.__setattr__(self, "pointer", cut(self.pointer))


def text_like(pattern: str, meaning: str, **more: Any) -> Meta:
    """A string that `pattern` matches; a client is told what that means instead: `1 to 3 of a-z`."""
    _MEANINGS[repr(pattern)] = meaning
    return Meta(pattern=pattern, **more)


def cut(text: str) -> str:
    """At most MAX_QUOTED characters of a client's text; what is longer ends with an ellipsis."""
    return text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 1] + "…"


def pointer_to(*path: str | int) -> str:
    """The JSON pointer (RFC 6901) of a member or an item, of which very long names are cut."""
    return "".join("/" + cut(str(step)).replace("~", "~0").replace("/", "~1") for step in path)


def steps_of(pointer: str) -> list[str]:
    """The names and numbers of a JSON pointer: `/a~1b/0` → `["a/b", "0"]`."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def field_error(message: str) -> FieldError:
    """msgspec's message → the field's pointer, a code and the sentence.

    The message holds names and values as they were sent, up to the size of the body, so it is taken apart from its
    ends, by look-ups that are linear in it.
    """
    sentence, place = _split(message)
    for start, code, detail in (
        (_UNKNOWN, "unknown_field", "There is no such field."),
        (_MISSING, "required", "This field is required."),
    ):
        if sentence.startswith(start) and sentence.endswith("`"):
            return FieldError(pointer=place + pointer_to(sentence[len(start) : -1]), code=code, detail=detail)
    if sentence.startswith(_NO_MATCH):
        sentence = f"This takes {_MEANINGS.get(sentence.removeprefix(_NO_MATCH), 'text of another form')}."
    return FieldError(pointer=place, code="invalid", detail=cut(sentence))


def _split(message: str) -> tuple[str, str]:
    """The sentence, and the pointer to the object that it is about: `.events[3]` becomes `/events/3`.

    A name may hold what looks like a place. Then what follows the last one that is no path belongs to the name.
    """
    for at in _AT:
        sentence, found, path = message.rpartition(at)
        if found and path.endswith("`") and _PATH.fullmatch(path, 0, len(path) - 1):
            return sentence, "".join("/" + step for step in _STEP.findall(path))
    return message, ""
