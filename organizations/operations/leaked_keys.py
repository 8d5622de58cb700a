"""Whose key is this? Somebody has found one where it should not be."""

import hmac
import re
from dataclasses import dataclass
from enum import StrEnum

from django.db import transaction

from organizations.audit import Actor, record
from organizations.keys.key_format import hash_key, public_id
from organizations.models import ApiKey, AuditEntry

# A key is found among other text too: a line of a log, a header, a snippet of source.
_CANDIDATE = re.compile(r"evp_[a-z]{2,10}_[0-9A-Za-z]+")


class LeakOutcome(StrEnum):
    FOUND = "found"
    # Well-formed, with a right checksum, and of no organization here: another installation's, or long deleted.
    UNKNOWN = "unknown"
    # Starts like a key, but a character is wrong or missing.
    MISTYPED = "mistyped"
    NO_KEY = "no_key"


@dataclass(frozen=True, kw_only=True)
class LeakedKey:
    """`key` only when it was found."""

    outcome: LeakOutcome
    key: ApiKey | None = None


@transaction.atomic
def find_leaked_key(*, text: str, actor: Actor) -> LeakedKey:
    """Look for the first key in `text`, and write down that it was looked for. The text itself is kept nowhere."""
    found = _find(text)
    if found.key is not None:
        record(actor=actor, action="api_key.looked_up", target=found.key, organization=found.key.organization)
    else:
        AuditEntry.objects.create(
            actor_kind=actor.kind,
            actor_label=actor.label[:200],
            action="api_key.looked_up",
            target_kind="apikey",
            target_label="no key of this platform",
            changes={"outcome": found.outcome.value},
            address=actor.address,
            user_agent=actor.user_agent,
        )
    return found


def _find(text: str) -> LeakedKey:
    candidate = _CANDIDATE.search(text)
    if candidate is None:
        return LeakedKey(outcome=LeakOutcome.NO_KEY)
    found_id = public_id(candidate[0])
    if found_id is None:
        return LeakedKey(outcome=LeakOutcome.MISTYPED)
    key = ApiKey.objects.select_related("organization").filter(public_id=found_id).first()
    if key is None or not hmac.compare_digest(bytes(key.key_hash), hash_key(candidate[0])):
        return LeakedKey(outcome=LeakOutcome.UNKNOWN)
    return LeakedKey(outcome=LeakOutcome.FOUND, key=key)
