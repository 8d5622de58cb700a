"""The beginning of a body as people may read it: without secrets and control characters. Pure."""

import re

from ingestion.formats.request_headers import MASK, is_secret_name

MAX_BEGINNING = 500
# A member that looks like JSON, wherever in the body it stands: its name, and its string or other simple value. A
# string that the cut has left open ends with the text.
_MEMBER = re.compile(
    r'"(?P<name>[^"\\]{1,64})"(?P<colon>\s*:\s*)(?:"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[^\s,"{}\[\]]+)', re.DOTALL
)
# A key in a member that is not made for it is no less a key.
_KEY = re.compile(r"evp_[A-Za-z0-9_]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def beginning_of(body: bytes) -> str:
    """At most MAX_BEGINNING bytes of a body as text; members whose names speak of a secret have MASK for a value."""
    text = _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", body[:MAX_BEGINNING].decode(errors="replace"))
    return _KEY.sub(MASK, _MEMBER.sub(_masked, text)) + ("…" if len(body) > MAX_BEGINNING else "")


def _masked(member: re.Match[str]) -> str:
    if is_secret_name(member["name"].lower().replace("_", "-")):
        return f'"{member["name"]}"{member["colon"]}"{MASK}"'
    return member[0]
