"""What is sent in each row of the intake benchmark."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.load import Load
from benchmarks.options import Options
from benchmarks.streams import Kind, Stream
from benchmarks.targets import OUR_PROCESSES, Target, Tenant, new_tag

CLIENTS = (1, 32, 128)
BATCH_SIZES = (1, 10, 100, 500, 1000)
TENANTS = 1000
# Enough that the server always has the next batch at hand, and few enough that one of them is never late.
_BATCH_CLIENTS = 4 * OUR_PROCESSES
# The textbook build has no batches: what it takes one by one, with the clients that suit it, is the reference.
_TEXTBOOK_CLIENTS = 32
_SEQUENTIAL = (100, 500, 1000)
_BURST, _BURSTS = 50, 10
_CROWD, _CROWD_REQUESTS = 120, 10
# What a load without a time takes about, for the estimate of the time left.
_COUNTED_SECONDS = 4.0


@dataclass(frozen=True, kw_only=True)
class Access:
    """The API keys of one target: of a tenant without a limit in reach, of a `free` one, and of a thousand more."""

    one: str
    free: str
    many: tuple[str, ...]

    @classmethod
    def made_for(cls, target: Target) -> "Access":
        many = [Tenant(name=f"tenant-{number:04d}") for number in range(TENANTS)]
        one, free = Tenant(name="one"), Tenant(name="free", plan="free", events_per_minute=None)
        keys = target.make_tenants([one, free, *many])
        return cls(one=keys[0], free=keys[1], many=tuple(keys[2:]))


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A row: what our server is sent, and what the textbook's is."""

    group: str
    name: str
    ours: Callable[[Access], Load]
    textbook: Callable[[Access], Load]
    clients: int

    def seconds(self, options: Options) -> float:
        return 2 * (options.seconds if self.group != PATTERNS else _COUNTED_SECONDS) * options.rounds


SINGLE, BATCHES, MIXES, PATTERNS = "One event per request", "Batches", "Mixed traffic", "A script, bursts, a crowd"


def scenarios(options: Options) -> list[Scenario]:
    """Every row that is compared with the textbook build."""
    return [*_singles(options), *_batches(options), *_mixes(options), *_seed_patterns()]


def _singles(options: Options) -> list[Scenario]:
    names = {Kind.PLAIN: "no idempotency key", Kind.KEYED: "idempotency key"}
    return [
        _same(
            SINGLE,
            f"{name}, {clients} client{'s' * (clients > 1)}",
            _timed(kind, clients=clients, options=options),
            clients,
        )
        for kind, name in names.items()
        for clients in CLIENTS
    ]


def _batches(options: Options) -> list[Scenario]:
    wanted = [(Kind.BATCH, size, f"batches of {size}") for size in BATCH_SIZES]
    wanted.append((Kind.KEYED_BATCH, 500, "batches of 500, idempotency keys"))
    return [
        Scenario(
            group=BATCHES,
            name=name,
            clients=_BATCH_CLIENTS,
            ours=_timed(kind, clients=_BATCH_CLIENTS, options=options, batch_size=size),
            textbook=_timed(
                Kind.KEYED if kind is Kind.KEYED_BATCH else Kind.PLAIN, clients=_TEXTBOOK_CLIENTS, options=options
            ),
        )
        for kind, size, name in wanted
    ]


def _mixes(options: Options) -> list[Scenario]:
    clients = 32
    return [
        _same(MIXES, "5 % duplicates, 5 % bad input", _timed(Kind.MIXED, clients=clients, options=options), clients),
        _same(
            MIXES,
            f"{TENANTS} tenants, heavy-tailed",
            _timed(Kind.KEYED, clients=clients, options=options, many=True),
            clients,
        ),
    ]


def _seed_patterns() -> list[Scenario]:
    def counted(clients: int, *, each: int, repeat: int = 1, reconnect: bool = False) -> Callable[[Access], Load]:
        def load(access: Access) -> Load:
            stream = Stream(kind=Kind.KEYED, api_keys=(access.one,), tag=new_tag())
            return Load(stream=stream, clients=clients, requests_each=each, repeat=repeat, reconnect=reconnect)

        return load

    sequential = [_same(PATTERNS, f"sequential, {count} requests", counted(1, each=count), 1) for count in _SEQUENTIAL]
    crowd = counted(_CROWD, each=_CROWD_REQUESTS)
    burst = counted(_BURST, each=1, repeat=_BURSTS, reconnect=True)
    return [
        *sequential,
        _same(PATTERNS, f"{_BURSTS} bursts of {_BURST} at once", burst, _BURST),
        _same(PATTERNS, f"{_CROWD} clients, {_CROWD_REQUESTS} requests each", crowd, _CROWD),
    ]


def _timed(
    kind: Kind, *, clients: int, options: Options, batch_size: int = 1, many: bool = False
) -> Callable[[Access], Load]:
    def load(access: Access) -> Load:
        keys = access.many if many else (access.one,)
        stream = Stream(kind=kind, api_keys=keys, tag=new_tag(), batch_size=batch_size)
        return Load(stream=stream, clients=clients, seconds=options.seconds)

    return load


def _same(group: str, name: str, load: Callable[[Access], Load], clients: int) -> Scenario:
    return Scenario(group=group, name=name, ours=load, textbook=load, clients=clients)
