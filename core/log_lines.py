"""Lines with fields, for machines to count and people to search; how they look is the wiring's business."""

import logging


def log_line(logger: logging.Logger, message: str, *, level: int = logging.INFO, **fields: object) -> None:
    """One line of `message` and `fields`. Ids, numbers, codes: never keys, secrets, URLs of tenants or payloads."""
    logger.log(level, message, extra={"fields": fields})


def level_of(status: int) -> int:
    """How loud an answer is: 503 says that something else is away, other 5xx are faults of ours."""
    if status < 500:
        return logging.INFO
    return logging.WARNING if status == 503 else logging.ERROR
