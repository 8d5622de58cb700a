"""What every kind of subscription says of itself."""

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from core.tracing import TraceContext

if TYPE_CHECKING:
    from delivery.webhooks.claiming import Claimed
    from delivery.webhooks.sending import AttemptResult, WebhookSender


class KindRules:
    """What one kind of subscription has, accepts and does with its deliveries; there is one object of each class.

    `name` is what the column `kind` holds. `own_fields` no other kind has. `is_sent`: the platform attempts the
    deliveries; else consumers fetch them. The rest are texts for people.
    """

    name: ClassVar[str]
    own_fields: ClassVar[tuple[str, ...]] = ()
    is_sent: ClassVar[bool] = False
    plural: ClassVar[str]
    explanation: ClassVar[str]
    attempts: ClassVar[str] = "Attempts"
    name_is_required: ClassVar[bool] = False
    name_help: ClassVar[str] = "For people."

    def check_name(self, name: str) -> None:
        """Raises Problem 422 when a subscription of this kind cannot have this name."""

    def new_secret(self, signature: str | None) -> str | None:
        """The secret of a new subscription with this option, for a kind that has one."""
        return None

    def wake(self) -> None:
        """Tell whoever takes the deliveries that some are due. Call after the commit."""

    async def send(
        self, claimed: "Claimed", *, now: datetime, context: TraceContext | None, webhooks: "WebhookSender"
    ) -> "AttemptResult":
        """Attempt a delivery whose event is there, at `now` by PostgreSQL's clock. Only where `is_sent`."""
        raise NotImplementedError
