"""Rows of events, deliveries and attempts as lines for COPY. Plain text from templates: some 10 µs for an event."""

import hashlib
import random
from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from demo.seeding.plan import HOUR_US, MINUTE_US, MINUTES_KEPT, SOURCES, TYPES, WANTED, Plan, Tenant, microseconds

# One event of so many cannot be processed.
FAILED_ONE_OF = 103
_FAILED = 7
# Of 65 536 deliveries to a webhook: those that never arrive, and with them those that need a second attempt. One
# endpoint of ten is in trouble.
_DEAD, _DEAD_IN_TROUBLE = 330, 5_240
_SECOND = 8_000
_IN_TROUBLE_ONE_OF = 10
_WAITS = (0, 6_000, 320_000)
# Dead letters have had all of their attempts by then; what is younger is still being tried, or has not been taken.
_RETRIED_FOR_US = 2 * HOUR_US
_TAKEN_AFTER_US = 5 * MINUTE_US
_NO_BATCH = "0" * 32
_WANTED = {number for number, name in enumerate(TYPES) if name.startswith(WANTED.removesuffix("*"))}
_ERRORS = (("http_error", "500", "Internal Server Error"), ("timeout", "\\N", ""), ("connection_refused", "\\N", ""),
           ("unsafe_address", "\\N", ""))  # fmt: skip


@dataclass(kw_only=True)
class Counts:
    """How many events there are by the start of their minute or hour (µs), and tenant and type (`code_of`).

    `failed`: bucket and code of each that could not be processed; they are among the others.
    """

    buckets: dict[int, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    failed: list[tuple[int, int]] = field(default_factory=list)

    def add(self, other: "Counts") -> None:
        for bucket, codes in other.buckets.items():
            self.buckets[bucket].update(codes)
        self.failed += other.failed


@dataclass(kw_only=True)
class Lines:
    """By table, without line ends."""

    events: list[str] = field(default_factory=list)
    deliveries: list[str] = field(default_factory=list)
    attempts: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Moment:
    """When an event is received: `bucket` is where it is counted."""

    us: int
    text: str
    bucket: int


def code_of(tenant: Tenant, type_number: int) -> int:
    return tenant.number * len(TYPES) + type_number


class History:
    """The events before `end`, in the order of their times; the same plan and `salt` make the same ones."""

    def __init__(self, plan: Plan, *, salt: str, end: datetime) -> None:
        self.counts = Counts()
        self._plan = plan
        self._chance = random.Random(f"{plan.random_seed} {salt}")  # noqa: S311 - made-up data
        self._weights = plan.weights
        self._types = [_weighted(tenant.types) for tenant in plan.tenants]
        self._now = microseconds(plan.now)
        self._by_minute_from = self._now - MINUTES_KEPT // timedelta(microseconds=1)
        self._end_ms = microseconds(end) // 1000
        self._minute = (0, "", 0)

    def lines_of(self, numbers: range) -> Lines:
        count = len(numbers)
        tenants = self._chance.choices(self._plan.tenants, cum_weights=self._weights, k=count)
        entropy = self._chance.randbytes(9 * count).hex()
        dice = array("H", self._chance.randbytes(2 * count))
        found, codes = Lines(), defaultdict[int, list[int]](list)
        for place, number in enumerate(numbers):
            tenant, die, moment = tenants[place], dice[place], self._moment(number)
            kind = self._types[tenant.number][die & 255]
            noise = entropy[18 * place : 18 * place + 18]
            event_id = f"{moment.us // 1000:012x}7{noise[:3]}8{noise[3:]}"
            codes[moment.bucket].append(code_of(tenant, kind))
            found.events.append(_event_line(event_id, tenant, TYPES[kind], number, moment.text))
            if number % FAILED_ONE_OF == _FAILED:
                self.counts.failed.append((moment.bucket, code_of(tenant, kind)))
                found.failures.append(f"{event_id}\t{tenant.organization}\tValueError: made up\t8\t{moment.text}")
                continue
            found.deliveries.append(self._inbox_line(event_id, tenant, moment))
            if kind in _WANTED:
                self._send(found, event_id, tenant, moment, self._chance.getrandbits(16))
        for bucket, several in codes.items():
            self.counts.buckets[bucket].update(several)
        return found

    def _moment(self, number: int) -> _Moment:
        us = self._plan.microsecond_of(number)
        start, text, bucket = self._minute
        if us - start >= MINUTE_US or us < start:
            start = us // MINUTE_US * MINUTE_US
            text = f"{datetime.fromtimestamp(start / 1_000_000, UTC):%Y-%m-%dT%H:%M}:"
            bucket = start if start >= self._by_minute_from else us // HOUR_US * HOUR_US
            self._minute = (start, text, bucket)
        seconds, rest = divmod(us - start, 1_000_000)
        return _Moment(us=us, text=f"{text}{seconds:02d}.{rest:06d}+00", bucket=bucket)

    def _inbox_line(self, event_id: str, tenant: Tenant, moment: _Moment) -> str:
        is_taken = moment.us < self._now - _TAKEN_AFTER_US
        end = f"delivered\t{moment.text}\t{moment.text}\t\\N\t1\t"
        if not is_taken:
            end = f"pending\t{moment.text}\t\\N\t{moment.text}\t0\t"
        return _delivery_line(event_id, tenant.organization, tenant.inbox, end)

    def _send(self, found: Lines, event_id: str, tenant: Tenant, moment: _Moment, die: int) -> None:
        """A delivery to the webhook, and what was tried."""
        dead = _DEAD if tenant.number % _IN_TROUBLE_ONE_OF else _DEAD_IN_TROUBLE
        failures = 3 if die < dead else 1 if die < _SECOND else 0
        tried = failures if failures == 3 else failures + 1
        error = _ERRORS[die % len(_ERRORS)]
        if failures < 3:
            end = f"delivered\t{moment.text}\t{moment.text}\t\\N\t{tried}\t"
        elif moment.us < self._now - _RETRIED_FOR_US:
            end = f"dead_letter\t{moment.text}\t\\N\t\\N\t{tried}\t{error[0]}"
        else:
            end = f"retrying\t{moment.text}\t\\N\t{_text(self._now + HOUR_US)}\t{tried}\t{error[0]}"
        line = _delivery_line(event_id, tenant.organization, tenant.webhook, end)
        found.deliveries.append(line)
        delivery = line[:32]
        for number in range(tried):
            outcome = error if number < failures else ("", "200", "ok")
            found.attempts.append(self._attempt_line(delivery, tenant, moment, number, outcome))

    def _attempt_line(
        self, delivery: str, tenant: Tenant, moment: _Moment, number: int, outcome: tuple[str, str, str]
    ) -> str:
        error, code, answer = outcome
        ms = min(moment.us // 1000 + _WAITS[number], self._end_ms - 1)
        started = moment.text if not number else _text(moment.us + _WAITS[number] * 1000)
        # The counter in the id keeps the order within a millisecond.
        attempt_id = f"{ms:012x}7{number:03x}8{self._chance.getrandbits(60):015x}"
        duration = 15_000 if error == "timeout" else 5 + self._chance.getrandbits(8)
        return (
            f"{attempt_id}\t{tenant.organization}\t{tenant.webhook}\t{delivery}\t{number + 1}\t{started}\t{duration}"
            f"\t{code}\t{error}\t{answer}"
        )


def _weighted(types: list[int]) -> list[int]:
    """256 of them: each has half of what the one before it has left."""
    found: list[int] = []
    for number in types[:-1]:
        found += [number] * max(1, (256 - len(found)) // 2)
    return found + [types[-1]] * (256 - len(found))


def _event_line(event_id: str, tenant: Tenant, kind: str, number: int, moment: str) -> str:
    data = (
        f'{{"number": {number}, "amount": {number * 7 % 100_000}, "currency": "EUR", "customer": {{"id": '
        f'"cus_{number % 9973}", "country": "AT"}}, "lines": [{{"sku": "A-{number % 50}", "count": {number % 4}}}]}}'
    )
    source = SOURCES[number % 7 % 5]
    return f"{event_id}\t{tenant.organization}\t{kind}\t{source}\ts-{number % 100_003}\t{data}\t{moment}\t{_NO_BATCH}"


def _delivery_line(event_id: str, organization: str, subscription: str, end: str) -> str:
    """With the id that delivery.delivery_ids makes, without the detour over objects."""
    digest = hashlib.blake2b(bytes.fromhex(event_id + subscription), digest_size=8).digest()
    identifier = f"{event_id[:16]}{0x80 | (digest[0] & 0x3F):02x}{digest[1:].hex()}"
    return f"{identifier}\t{organization}\t{subscription}\t{event_id}\t{end}"


def _text(us: int) -> str:
    return datetime.fromtimestamp(us // 1_000_000, UTC).isoformat()
