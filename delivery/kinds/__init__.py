"""The kinds of subscriptions. What sets a kind apart from the others stands in its own module here."""

from delivery.kinds.inbox import Inbox
from delivery.kinds.rules import KindRules
from delivery.kinds.webhook import Webhook

RULES: dict[str, KindRules] = {rules.name: rules for rules in (Webhook(), Inbox())}
_SENT = ", ".join(f"'{name}'" for name, rules in RULES.items() if rules.is_sent)
# Of a `subscription`, in SQL: the platform attempts its deliveries.
IS_SENT = f"subscription.kind IN ({_SENT})"
