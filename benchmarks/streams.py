"""The requests that load generators send: events of a few hundred bytes, each of them different."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

SINGLE_PATH = "/api/v1/events"
BATCH_PATH = "/api/v1/events/batch"
TYPE = "invoice.paid"
# The `data` of an event that waits to be processed, as long as that of one that is sent.
DATA = (
    '{"invoice":"inv_00000000","customer":"cus_9f3b27d1","amount":12900,"currency":"EUR","paid":true,'
    '"lines":[{"sku":"plan-pro","quantity":3,"price":4300}]}'
)
# Two in twenty requests of a mix are not ordinary: 5 % repeat an event, 5 % are wrong.
_MIX_CYCLE = 20
_BAD_BODIES = (
    b'{"type": "invoice.paid", "data": {"amount": 12900}',
    b'{"data": {"amount": 12900}}',
    b'{"type": "invoice.paid"}',
    b"invoice=1",
)


class Kind(StrEnum):
    """What is sent: events without or with an idempotency key, the mix, or batches without or with keys."""

    PLAIN = "plain"
    KEYED = "keyed"
    MIXED = "mixed"
    BATCH = "batch"
    KEYED_BATCH = "keyed batch"


class Outcome(StrEnum):
    """What the server should make of a request."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


STATUSES = {
    Outcome.ACCEPTED: frozenset({202}),
    Outcome.DUPLICATE: frozenset({200}),
    Outcome.REJECTED: frozenset({400, 422}),
}


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Describes requests. `tag` makes their keys differ from those of every other stream.

    With several API keys the tenants are chosen by Zipf's law: the n-th sends 1/n of what the first one sends.
    """

    kind: Kind
    api_keys: tuple[str, ...]
    tag: str
    batch_size: int = 1

    @property
    def path(self) -> str:
        return BATCH_PATH if self.kind in {Kind.BATCH, Kind.KEYED_BATCH} else SINGLE_PATH


@dataclass(frozen=True, slots=True)
class Request:
    """The bytes of an HTTP request, and what should become of it."""

    data: bytes
    expected: Outcome


def event_body(serial: str, *, keyed: bool) -> str:
    """The JSON of one event, about 290 bytes, of which `data` is 150; `serial` makes it unique."""
    key = f',"idempotency_key":"{serial}"' if keyed else ""
    return (
        f'{{"type":"invoice.paid","source":"/billing","subject":"inv_{serial}"{key},'
        f'"data":{{"invoice":"inv_{serial}","customer":"cus_9f3b27d1","amount":12900,"currency":"EUR","paid":true,'
        '"lines":[{"sku":"plan-pro","quantity":3,"price":4300}]}}'
    )


def request_head(path: str, api_key: str) -> str:
    """The head of a request up to the length of its body."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {api_key}\r\n"
        "Content-Type: application/json\r\nContent-Length: "
    )


def requests_of(stream: Stream, client: str) -> Iterator[Request]:
    """The endless requests of one client, which sends them one after the other.

    A duplicate repeats the client's last accepted event, so its 202 has arrived when the duplicate is sent.
    """
    heads = _heads(stream, client)
    if stream.kind is Kind.MIXED:
        yield from _mixed(stream, client, heads)
    number = 0
    while True:
        serials = [f"{stream.tag}-{client}-{number + index:08d}" for index in range(stream.batch_size)]
        number += stream.batch_size
        yield Request(_whole(next(heads), _body(stream, serials)), Outcome.ACCEPTED)


def _body(stream: Stream, serials: list[str]) -> bytes:
    keyed = stream.kind in {Kind.KEYED, Kind.KEYED_BATCH, Kind.MIXED}
    events = [event_body(serial, keyed=keyed) for serial in serials]
    if stream.path == BATCH_PATH:
        return f'{{"events":[{",".join(events)}]}}'.encode()
    return events[0].encode()


def _mixed(stream: Stream, client: str, heads: Iterator[bytes]) -> Iterator[Request]:
    number, last = 0, b""
    # Clients begin at different places of the cycle, or all would send their wrong requests at once.
    place = random.Random(f"{stream.tag}{client}").randrange(_MIX_CYCLE)
    while True:
        place = (place + 1) % _MIX_CYCLE
        if place == 0 and last:
            yield Request(last, Outcome.DUPLICATE)
        elif place == _MIX_CYCLE // 2:
            yield Request(_whole(next(heads), _BAD_BODIES[number % len(_BAD_BODIES)]), Outcome.REJECTED)
        else:
            last = _whole(next(heads), _body(stream, [f"{stream.tag}-{client}-{number:08d}"]))
            yield Request(last, Outcome.ACCEPTED)
        number += 1


def _whole(head: bytes, body: bytes) -> bytes:
    return b"%b%d\r\n\r\n%b" % (head, len(body), body)


def _heads(stream: Stream, client: str) -> Iterator[bytes]:
    heads = [request_head(stream.path, key).encode() for key in stream.api_keys]
    if len(heads) == 1:
        while True:
            yield heads[0]
    weights = list(accumulate(1 / rank for rank in range(1, len(heads) + 1)))
    chance = random.Random(f"{stream.tag}{client}")
    while True:
        yield from chance.choices(heads, cum_weights=weights, k=256)
