"""What processing and the servers would have counted of a made-up history."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from django.db import connection

from demo.seeding.history import Counts
from demo.seeding.plan import HOUR_US, TYPES, Plan

# So many events bring one that was a duplicate, and one that was rejected.
_OTHERS = {"duplicate": 50, "validation_failed": 130, "rate_limited": 900}


def write_statistics(plan: Plan, counts: Counts) -> None:
    """HourlyStat, EventType and IntakeCount of all of the plan's tenants."""
    hours = _processed_by_hour(counts)
    _copy("ingestion_hourlystat (organization_id, type, hour, count)", _hourly_lines(plan, hours))
    _copy(
        "ingestion_eventtype (organization_id, name, first_seen_at, last_seen_at, count)",
        _type_lines(plan, hours),
    )
    _copy("ingestion_intakecount (organization_id, minute, outcome, count)", _intake_lines(plan, counts))


def _processed_by_hour(counts: Counts) -> dict[int, Counter[int]]:
    hours: dict[int, Counter[int]] = {}
    for bucket, codes in counts.buckets.items():
        hours.setdefault(bucket // HOUR_US * HOUR_US, Counter()).update(codes)
    for bucket, code in counts.failed:
        hours[bucket // HOUR_US * HOUR_US][code] -= 1
    return {hour: +hours[hour] for hour in sorted(hours)}


def _hourly_lines(plan: Plan, hours: dict[int, Counter[int]]) -> Iterator[str]:
    for hour, codes in hours.items():
        text = _text(hour)
        for code, count in codes.items():
            tenant, kind = _of(plan, code)
            yield f"{tenant}\t{kind}\t{text}\t{count}"


def _type_lines(plan: Plan, hours: dict[int, Counter[int]]) -> Iterator[str]:
    totals: Counter[int] = Counter()
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for hour, codes in hours.items():
        totals.update(codes)
        last |= dict.fromkeys(codes, hour)
        first = dict.fromkeys(codes, hour) | first
    for code, count in totals.items():
        tenant, kind = _of(plan, code)
        yield f"{tenant}\t{kind}\t{_text(first[code])}\t{_text(last[code])}\t{count}"


def _intake_lines(plan: Plan, counts: Counts) -> Iterator[str]:
    seen: Counter[int] = Counter()
    for bucket in sorted(counts.buckets):
        text = _text(bucket)
        accepted: Counter[int] = Counter()
        for code, count in counts.buckets[bucket].items():
            accepted[code // len(TYPES)] += count
        for number, count in accepted.items():
            organization = plan.tenants[number].organization
            yield f"{organization}\t{text}\taccepted\t{count}"
            for outcome, each in _OTHERS.items():
                if others := (seen[number] + count) // each - seen[number] // each:
                    yield f"{organization}\t{text}\t{outcome}\t{others}"
            seen[number] += count


def _of(plan: Plan, code: int) -> tuple[str, str]:
    """The organization and the type."""
    number, kind = divmod(code, len(TYPES))
    return plan.tenants[number].organization, TYPES[kind]


def _text(us: int) -> str:
    return datetime.fromtimestamp(us // 1_000_000, UTC).isoformat()


def _copy(target: str, lines: Iterable[str]) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN") as copy:
        for line in lines:
            copy.write(f"{line}\n")
