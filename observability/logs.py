"""How logs look: JSON lines for machines, coloured lines for people. Knows nothing of Django, for gunicorn's master.

Whatever is logged, also by libraries, passes through here: what the context knows (request, organization, task) is
added, and what has the form of a secret is taken out. That is a last net: nobody shall log secrets or payloads.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal, cast
from uuid import UUID

import msgspec
import structlog
from structlog.contextvars import get_contextvars, merge_contextvars
from structlog.stdlib import ProcessorFormatter

FORMATS = ("auto", "json", "console")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
Format = Literal["auto", "json", "console"]

# Of an API key its public id stays, which finds it in the admin. PostgreSQL's details and contexts quote rows. A scheme
# has a bound, or a long word would be looked through once from each of its letters.
_SECRETS = re.compile(
    r"(?P<key>evp_[a-z]{2,10}_[0-9A-Za-z]{12})[0-9A-Za-z]+"
    r"|(?P<secret>whsec_)[0-9A-Za-z+/=_-]+"
    r"|(?P<field>(?i:authorization|x-api-key|cookie|password)\\?[\"']?\s*[:=]\s*)"
    r"(?:\\?\"[^\"\\]*|'[^']*|(?:(?i:bearer|basic)\s+)?[^\s\"',;}\\]+)"
    r"|(?P<scheme>(?i:bearer|basic)\s)[0-9A-Za-z+/=_.~-]{8,}"
    r"|(?P<url>[a-z][a-z0-9+.-]{0,20}://[^\s:/@]*:)[^\s/@]+(?=@)"
    r"|(?P<row>(?:DETAIL|CONTEXT):\s)[^\n\\]*"
)
# Most lines hold none of these, which costs 1 µs to see; the expression takes twenty times as long.
_SIGNS = (
    "evp_",
    "whsec_",
    "authorization",
    "x-api-key",
    "cookie",
    "password",
    "bearer ",
    "basic ",
    "@",
    "detail:",
    "context:",
)


def configuration(*, level: str, style: str) -> dict[str, Any]:
    """For logging.config.dictConfig. `style` is one of FORMATS; `auto` is JSON unless stderr is a terminal."""
    quiet = {"level": "WARNING"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": line_formatter, "style": style}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "celery": quiet,
            "kombu": quiet,
            "amqp": quiet,
            "axes": quiet,
            "asyncio": quiet,
            # 4xx answers are the client's business; 5xx are logged with their trace by django.request itself.
            "django.request": {"level": "ERROR"},
            # gunicorn keeps it away from the root.
            "gunicorn.error": {"handlers": ["stderr"], "level": level, "propagate": False},
        },
    }


def configuration_of(environ: Mapping[str, str]) -> dict[str, Any]:
    """Before the settings have been read. What is wrong there they say; here it counts as not set."""
    level, style = environ.get("LOG_LEVEL", ""), environ.get("LOG_FORMAT", "")
    return configuration(level=level if level in LEVELS else "INFO", style=style if style in FORMATS else "auto")


class JsonFormatter(logging.Formatter):
    """One record, one line of JSON: 10 µs, where structlog's own chain for records takes ten times as long."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "timestamp": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **get_contextvars(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redact(msgspec.json.encode(line, enc_hook=str).decode())


class ConsoleFormatter(ProcessorFormatter):
    """One record, one coloured line, and its trace below it."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def line_formatter(style: Format = "auto") -> logging.Formatter:
    if style == "json" or (style == "auto" and not sys.stderr.isatty()):
        return JsonFormatter()
    # No local variables in traces: they hold keys and payloads.
    plain = structlog.dev.plain_traceback
    # As https://no-color.org and https://force-color.org say.
    colours = not os.environ.get("NO_COLOR") and (bool(os.environ.get("FORCE_COLOR")) or sys.stderr.isatty())
    return ConsoleFormatter(
        foreign_pre_chain=[
            # As Django's TIME_ZONE makes it in all processes but gunicorn's master, which does not know Django.
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=True),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            merge_contextvars,
            _add_fields,
        ],
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain),
        ],
    )


def redact(line: str) -> str:
    """The line without what has the form of a secret."""
    lower = line.lower()
    return _SECRETS.sub(_without, line) if any(sign in lower for sign in _SIGNS) else line


def _without(match: re.Match[str]) -> str:
    return f"{match[cast(str, match.lastgroup)]}…"


def _add_fields(logger: logging.Logger, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """`extra={"fields": {…}}` of a record; any other `extra` is a library's, and may hold anything."""
    line.update(getattr(line["_record"], "fields", {}))
    for name, value in line.items():
        if isinstance(value, UUID):
            line[name] = str(value)
    return line
