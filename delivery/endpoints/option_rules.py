"""Which options a subscription may have, beyond what the type of each says. Pure."""

from collections.abc import Sequence

from core.field_errors import FieldError, pointer_to
from core.problems import Problem, invalid

MAX_TAGS = 20
MAX_TAG_LENGTH = 100
TIMEOUT_SECONDS = (1, 60)
PER_SECOND = (0.1, 1000)
IN_FLIGHT = (1, 100)
MAX_RETRIES = 50
# A delivery ends with its event, which retention takes: waits of more than a month would outlive most.
MAX_RETRY_SECONDS = 30 * 24 * 3600


def check_tags(tags: Sequence[str] | None) -> list[str] | None:
    """The tags, each once, or a Problem that names every wrong one by `/tags/<index>`."""
    if tags is None:
        return None
    if len(tags) > MAX_TAGS:
        raise invalid("/tags", "too_many", f"At most {MAX_TAGS} tags.")
    _refuse(
        "tags",
        [not 0 < len(tag) <= MAX_TAG_LENGTH or not tag.isprintable() or tag != tag.strip() for tag in tags],
        f"A tag has 1 to {MAX_TAG_LENGTH} characters, no control characters, and no spaces around it.",
    )
    return list(dict.fromkeys(tags))


def check_retry_schedule(waits: Sequence[int] | None) -> list[int] | None:
    """The waits in seconds, or a Problem that names every wrong one by `/retry_schedule/<index>`."""
    if waits is None:
        return None
    if len(waits) > MAX_RETRIES:
        raise invalid("/retry_schedule", "too_many", f"At most {MAX_RETRIES} retries.")
    _refuse(
        "retry_schedule",
        [not 1 <= wait <= MAX_RETRY_SECONDS for wait in waits],
        f"A wait is a whole number of seconds from 1 to {MAX_RETRY_SECONDS}.",
    )
    if sum(waits) > MAX_RETRY_SECONDS:
        raise invalid("/retry_schedule", "too_long", "All waits together are at most 30 days.")
    return list(waits)


def _refuse(name: str, are_wrong: Sequence[bool], detail: str) -> None:
    """A Problem that names each wrong item of the list `name`, if there is one."""
    wrong = [index for index, is_wrong in enumerate(are_wrong) if is_wrong]
    if wrong:
        errors = [FieldError(pointer=pointer_to(name, index), code="invalid", detail=detail) for index in wrong]
        raise Problem("validation_failed", errors=errors)
