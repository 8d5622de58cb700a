"""What a check is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from installation.doctor.findings import CheckOutcome

if TYPE_CHECKING:
    from installation.health.seen import Seen
    from observability.schema_version import SchemaFit
    from observability.signs_of_life import Sign


@dataclass(kw_only=True)
class Visit:
    """What the operator asked for, and what one check learns for those after it.

    `mail_to`: where a test message goes; `http_port`: where plain HTTP is looked for; `seen`: what the web server saw
    of a request through PUBLIC_URL; `signs`: those of the processes that live; `schema`: how the database's fits.
    """

    mail_to: str = ""
    http_port: int = 80
    seen: "Seen | None" = None
    signs: "Sequence[Sign] | None" = None
    schema: "SchemaFit | None" = None


@dataclass(frozen=True, kw_only=True)
class Check:
    """Those of a `lane` run one after another, lanes at the same time. Skipped when the check `needs` was not good."""

    part: str
    name: str
    run: Callable[[Visit], CheckOutcome]
    lane: str = "local"
    needs: str = ""
