"""Inboxes: events wait until a consumer leases and acknowledges them."""

import re

from core.problems import invalid
from delivery.kinds.rules import KindRules

INBOX_NAME = r"\A[A-Za-z0-9._-]{1,100}\Z"


class Inbox(KindRules):
    """Its name is its address within the organization."""

    name = "inbox"
    own_fields = ("max_leases",)
    plural = "Inboxes"
    explanation = "Events wait in the inbox until a consumer takes and acknowledges them."
    attempts = "Leases"
    name_is_required = True
    name_help = "Consumers find the inbox by it: 1 to 100 of A-Za-z0-9._-"

    def check_name(self, name: str) -> None:
        if re.fullmatch(INBOX_NAME, name) is None:
            raise invalid("/name", "invalid", "The name of an inbox has 1 to 100 of A-Za-z0-9._-.")
