"""What was typed into the search box, and what it can mean. Pure."""

import re
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from ingestion.data_paths import split_assignment
from organizations.keys.key_format import ID_LENGTH, public_id

MAX_LENGTH = 300
# A key as it is pasted, or as pages show it: `evp_live_4fT9…`.
_KEY = re.compile(r"evp_[a-z]{2,10}_([0-9A-Za-z]{4,})…?")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """`path` and `value` are of `lines[*].sku = S-1`; `key` is the beginning of an API key's public id.

    `text` never holds a whole API key: what follows its public id is forgotten, and `was_key` set.
    """

    text: str
    id: UUID | None = None
    path: str = ""
    value: str = ""
    key: str = ""
    was_key: bool = False

    @classmethod
    def read(cls, typed: str) -> Self:
        """Understands everything somehow."""
        text = typed.replace("\x00", "").strip()[:MAX_LENGTH].encode("utf-8", "ignore").decode()
        if key := _KEY.fullmatch(text):
            shown = text if len(key[1]) <= ID_LENGTH else text[: -len(key[1])] + key[1][:ID_LENGTH]
            return cls(text=shown.rstrip("…"), key=key[1][:ID_LENGTH], was_key=public_id(text) is not None)
        try:
            return cls(text=text, id=UUID(text))
        except ValueError:
            pass
        path, value = split_assignment(text) or ("", "")
        return cls(text=text, path=path, value=value)

    @property
    def is_pattern(self) -> bool:
        """Whether it is the beginning of types: `invoice.*`."""
        return self.text.endswith("*") and len(self.text) > 1 and not self.path
