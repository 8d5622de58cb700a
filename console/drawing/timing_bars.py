"""The steps of an attempt beside each other, as wide as they took long: for a template, no script, no inline style."""

from dataclasses import dataclass

from delivery.api.delivery_schemas import TimingsShown

WIDTH = 100.0
# What was taken can be seen, however little it was.
_LEAST = 0.7


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One step: `name` for people and `look` for the style sheet, from `x` on, `width` wide."""

    name: str
    look: str
    ms: int
    x: float
    width: float


def timing_bar(timings: TimingsShown, *, is_answered: bool) -> list[Segment]:
    """The steps that were taken, in order, WIDTH wide together; without an answer, the last one came to no end."""
    known = [
        ("DNS", "dns", timings.dns_ms),
        ("Connect", "connect", timings.connect_ms),
        ("TLS", "tls", timings.tls_ms),
        ("First byte", "first-byte", timings.first_byte_ms),
    ]
    taken = [(name, look, ms) for name, look, ms in known if ms is not None]
    if is_answered:
        rest = timings.total_ms - sum(ms for _, _, ms in taken)
        taken.append(("Reading", "reading", max(0, rest)))
    elif taken:
        name, look, ms = taken[-1]
        taken[-1] = ("No answer" if look == "first-byte" else f"{name}, failed", "failed", ms)
    room = WIDTH - _LEAST * len(taken)
    total = sum(ms for _, _, ms in taken)
    segments, x = [], 0.0
    for name, look, ms in taken:
        width = round(_LEAST + room * (ms / total if total else 1 / len(taken)), 2)
        segments.append(Segment(name=name, look=look, ms=ms, x=round(x, 2), width=width))
        x += width
    return segments
