"""Small things that every page of the console writes."""

from collections.abc import Mapping
from datetime import UTC, datetime

from django import template
from django.template import Context
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from console.drawing.charts import short_number
from console.drawing.timing_bars import Segment, timing_bar
from console.events.outcomes import WORDS
from core.times import format_time
from delivery.api.delivery_schemas import TimingsShown
from delivery.attempt_errors import error_words
from delivery.models import DeliveryStatus
from delivery.shown_status import HeldReason
from organizations.models import Membership
from organizations.operations.members import changeable_fields
from rest.versions import version_of

register = template.Library()
register.filter(error_words)

HELD_WORDS: dict[str, str] = {
    HeldReason.PAUSED: "subscription paused",
    HeldReason.DISABLED: "subscription disabled",
    HeldReason.CIRCUIT_OPEN: "endpoint resting",
    HeldReason.SUSPENDED: "organization suspended",
    HeldReason.RATE_LIMITED: "rate limit",
    HeldReason.ORDER: "behind its key's earlier event",
}


@register.simple_tag(takes_context=True)
def link_to(context: Context, name: str, *args: object) -> str:
    """The address of a page that console and portal both have, in the one that shows this page (`area`)."""
    namespace, *own = context["area"]
    return reverse(f"{namespace}:{name}", args=[*own, *args])


@register.simple_tag
def moment(when: datetime | str | None, style: str = "both") -> SafeString | str:
    """A time as `<time>`: in UTC as it is sent, in the viewer's zone once the script has run, UTC in its title.

    `style`: `both` shows the time and how long ago, `ago` only the latter, `time` only the former.
    """
    if not when:
        return ""
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    when = when.astimezone(UTC)
    shown = ago(when) if style == "ago" else f"{when:%Y-%m-%d %H:%M:%S} UTC"
    return format_html(
        '<time datetime="{}" title="{}" data-style="{}">{}</time>',
        format_time(when),
        f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond:06d} UTC",
        style,
        shown,
    )


def ago(when: datetime) -> str:
    """`3 min ago`, `in 5 h`: static/console.js writes the same."""
    seconds = (timezone.now() - when).total_seconds()
    text = duration(abs(seconds))
    return f"{text} ago" if seconds >= 0 else f"in {text}"


@register.filter
def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min`, `5 h`, `2 d`."""
    if seconds < 10:
        return f"{max(0, seconds):.1f} s".replace(".0 s", " s")
    for limit, unit, size in ((90, "s", 1), (5400, "min", 60), (48 * 3600, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


@register.filter
def since(when: datetime) -> str:
    """How long ago in whole words: `40 minutes`, `6 hours`, `12 days`."""
    seconds = max((timezone.now() - when).total_seconds(), 1)
    units = (("second", 1, 90), ("minute", 60, 5400), ("hour", 3600, 48 * 3600), ("day", 86400, float("inf")))
    unit, size = next((unit, size) for unit, size, limit in units if seconds < limit)
    number = max(round(seconds / size), 1)
    return f"{number} {unit}{'' if number == 1 else 's'}"


@register.simple_tag
def marked(text: str, wanted: str) -> SafeString | str:
    """The text with what was searched for in it marked, whatever its case."""
    start = text.lower().find(wanted.rstrip("*").lower())
    end = start + len(wanted.rstrip("*"))
    if start < 0 or end == start:
        return text
    return format_html("{}<mark>{}</mark>{}", text[:start], text[start:end], text[end:])


@register.filter
def short(number: int) -> str:
    """`12.9k`."""
    return short_number(number)


@register.filter
def grouped(number: int) -> str:
    """`12 900`, with narrow spaces that do not break."""
    return f"{number:,}".replace(",", "\u202f")


@register.filter
def middle(text: str, length: int) -> str:
    """Shortened where it is least missed, to at most so many characters."""
    half = length // 2
    return text if len(text) <= length else f"{text[:half]}…{text[1 - half :]}"


@register.filter
def delivery_words(status: str) -> str:
    """`dead_letter` → `Dead letter`."""
    return WORDS[DeliveryStatus(status)]


@register.filter
def held_words(reason: str) -> str:
    """Why a delivery is held, in as few words as a list has room for."""
    return HELD_WORDS.get(reason, reason)


@register.simple_tag
def steps(timings: TimingsShown, status_code: int | None) -> list[Segment]:
    """How long each step of an attempt took, which was answered with this status, or not at all."""
    return timing_bar(timings, is_answered=status_code is not None)


@register.filter
def header_lines(headers: Mapping[str, str]) -> str:
    """`name: value`, one a line."""
    return "\n".join(f"{name}: {value}" for name, value in headers.items())


@register.filter
def milliseconds(number: int | None) -> str:
    """`87 ms`, `1.2 s`."""
    if number is None:
        return "–"
    return f"{number} ms" if number < 1000 else f"{number / 1000:.1f} s"


@register.filter
def commands(text: str) -> SafeString:
    """What stands between backticks as `<code>`."""
    pieces = text.split("`")
    return format_html_join(
        "",
        "{}",
        ((format_html("<code>{}</code>", piece) if number % 2 else piece,) for number, piece in enumerate(pieces)),
    )


@register.filter
def role_version(membership: Membership) -> str:
    """What the form of a role carries: see console.conflicts."""
    return version_of(changeable_fields(membership))
