"""The ASGI application in front of the intake and Django: shares of what a process has at once. Without a server."""

import asyncio
import gzip
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.urls import get_resolver

from core import bounds
from core.problems import Problem
from core.turns import FairTime
from events_platform.front_door import FrontDoor, body_limit
from ingestion.intake.door import IntakeDoor
from ingestion.intake.pipeline import IntakeRequest, _unpacked
from rest.doors.client_address import network_of
from rest.doors.django_handler import CPU_SECONDS, LEAVE
from rest.doors.request_bodies import ClientGone, HeldBody, bodies
from rest.doors.shares import Budget, Places, RefusalPace, TooMuchError
from rest.middleware import is_below_api
from tests.support.http.exchange import Exchange
from tests.support.routes import walk_routes

ONE, OTHER = "one", "other"


class SlowDjango:
    """Answers when it is told to; `at_work` are those it works on."""

    def __init__(self) -> None:
        self.at_work = 0
        self.most_at_work = 0
        self.may_go_on = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.size = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        await self.may_go_on.wait()
        self.at_work -= 1
        headers = [(b"Content-Length", b"%d" % self.size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self.may_end.wait()
        await send({"type": "http.response.body", "body": b"x" * self.size})


@pytest.fixture
def every_byte_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "UNCOUNTED_BODY_BYTES", 0)


@pytest.fixture(autouse=True)
def _known_callers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The key is the organization."""

    async def authenticate(door: IntakeDoor, headers: dict[str, str]) -> Any:
        return SimpleNamespace(organization_id=UUID(headers["x-api-key"]))

    async def fields(door: IntakeDoor, caller: Any) -> dict[str, str]:
        return {}

    monkeypatch.setattr(IntakeDoor, "schedule_books", lambda _: None)
    monkeypatch.setattr(IntakeDoor, "authenticate", authenticate)
    monkeypatch.setattr(IntakeDoor, "rate_limit_fields", fields)
    yield
    assert bodies.used == 0


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def start(door: FrontDoor, *exchanges: Exchange) -> list["asyncio.Task[None]"]:
    return [asyncio.create_task(door(each.scope, each.receive, each.send)) for each in exchanges]


def test_one_organization_has_a_part_of_the_places_in_django() -> None:
    async def run() -> None:
        django = SlowDjango()
        door = FrontDoor(django, FairTime())
        greedy, modest = uuid4(), uuid4()
        many = [Exchange(key=greedy, method="GET") for _ in range(60)]
        tasks = start(door, *many)
        await settle()
        assert django.at_work == bounds.MAX_API_REQUESTS_OF_ONE
        one = Exchange(key=modest, method="GET")
        tasks += start(door, one)
        await settle()
        assert django.at_work == bounds.MAX_API_REQUESTS_OF_ONE + 1
        django.may_go_on.set()
        await asyncio.gather(*tasks)
        assert {each.status for each in [one, *many]} == {200}
        assert django.most_at_work <= bounds.MAX_API_REQUESTS

    asyncio.run(run())


def test_who_waits_behind_too_many_or_too_long_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        django = SlowDjango()
        door = FrontDoor(django, FairTime())
        organization = uuid4()
        monkeypatch.setattr(bounds, "WAITING_SECONDS", 0.05)
        fit = bounds.MAX_API_REQUESTS_OF_ONE + bounds.MAX_WAITING
        exchanges = [Exchange(key=organization, method="GET") for _ in range(fit + 1)]
        tasks = start(door, *exchanges)
        await settle()
        assert exchanges[-1].status == 503
        await asyncio.gather(*tasks[bounds.MAX_API_REQUESTS_OF_ONE :])
        django.may_go_on.set()
        await asyncio.gather(*tasks)
        statuses = [each.status for each in exchanges]
        assert statuses == [200] * bounds.MAX_API_REQUESTS_OF_ONE + [503] * (bounds.MAX_WAITING + 1)
        again = Exchange(key=organization, method="GET")
        await asyncio.gather(*start(door, again))
        assert again.status == 200

    asyncio.run(run())


@pytest.mark.parametrize("keeps_share", [True, False])
def test_who_waits_for_somebody_elses_server_leaves_its_place_to_others(keeps_share: bool) -> None:
    async def run() -> None:
        django = SlowDjango()
        door = FrontDoor(django, FairTime())
        owners = [uuid4() for _ in range(bounds.MAX_API_REQUESTS // bounds.MAX_API_REQUESTS_OF_ONE)]
        many = [Exchange(key=owner, method="GET") for owner in owners * bounds.MAX_API_REQUESTS_OF_ONE]
        tasks = start(door, *many)
        await settle()
        tasks += start(door, *[Exchange(key=owner, method="GET") for owner in (owners[0], uuid4())])
        await settle()
        assert django.at_work == bounds.MAX_API_REQUESTS
        for exchange in many[:2]:
            # Also when it is said twice.
            await asyncio.to_thread(exchange.scope[LEAVE], keeps_share=keeps_share)
            await asyncio.to_thread(exchange.scope[LEAVE], keeps_share=keeps_share)
        await settle()
        assert django.at_work == bounds.MAX_API_REQUESTS + (1 if keeps_share else 2)
        tasks += start(door, *[Exchange(key=uuid4(), method="GET") for _ in range(3)])
        await settle()
        assert django.at_work == bounds.MAX_API_REQUESTS + 2
        django.may_go_on.set()
        await asyncio.gather(*tasks)
        assert django.most_at_work == bounds.MAX_API_REQUESTS + 2

    asyncio.run(run())


def test_pages_take_no_place_of_the_api_and_of_probes() -> None:
    async def run() -> None:
        django = SlowDjango()
        door = FrontDoor(django, FairTime())
        tasks = start(door, *[Exchange(path="/console/", method="GET") for _ in range(30)])
        await settle()
        assert django.at_work == bounds.MAX_PAGE_REQUESTS_OF_ONE
        start_of_others = start(door, Exchange(key=uuid4(), method="GET"), Exchange(path="/health/live", method="GET"))
        await settle()
        assert django.at_work == bounds.MAX_PAGE_REQUESTS_OF_ONE + 2
        django.may_go_on.set()
        await asyncio.gather(*tasks, *start_of_others)

    asyncio.run(run())


def test_an_answer_that_has_begun_holds_no_place() -> None:
    async def run() -> None:
        django = SlowDjango()
        django.may_go_on.set()
        django.may_end.clear()
        door = FrontDoor(django, FairTime())
        streams = [Exchange(path="/console/live/", method="GET") for _ in range(50)]
        tasks = start(door, *streams)
        await settle()
        await settle()
        assert {each.status for each in streams} == {200}
        django.may_end.set()
        await asyncio.gather(*tasks)

    asyncio.run(run())


def test_large_answers_that_nobody_has_read_yet_have_a_bound() -> None:
    async def run() -> None:
        django = SlowDjango()
        django.may_go_on.set()
        django.may_end.clear()
        django.size = 16 * bounds.MIB
        door = FrontDoor(django, FairTime())
        organization = uuid4()
        fit = bounds.MAX_ANSWER_BYTES_OF_ONE // django.size
        exchanges = [Exchange(key=organization, method="GET") for _ in range(fit + 1)]
        tasks = start(door, *exchanges)
        await settle()
        assert [each.status for each in exchanges] == [200] * fit + [503]
        other = Exchange(key=uuid4(), method="GET")
        tasks += start(door, other)
        await settle()
        assert other.status == 200
        django.may_end.set()
        await asyncio.gather(*tasks)
        assert (len(exchanges[0].body), exchanges[-1].body[:1]) == (django.size, b"{")
        again = Exchange(key=organization, method="GET")
        await asyncio.gather(*start(door, again))
        assert again.status == 200

    asyncio.run(run())


def test_a_body_reaches_django_whole() -> None:
    async def run() -> None:
        seen: list[Mapping[str, Any]] = []

        async def django(scope: dict[str, Any], receive: Any, send: Any) -> None:
            seen.extend([await receive(), await receive()])
            await send({"type": "http.response.start", "status": 204, "headers": []})

        exchange = Exchange(b"a", b"b", b"c", key=uuid4())
        await FrontDoor(django, FairTime())(exchange.scope, exchange.receive, exchange.send)
        assert seen == [{"type": "http.request", "body": b"abc", "more_body": False}, {"type": "http.disconnect"}]

    asyncio.run(run())


def test_every_route_has_a_limit_that_fits_into_memory_and_into_its_budget() -> None:
    paths = walk_routes(get_resolver().url_patterns, "/")
    assert len(paths) > 100
    for path in paths:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "BREW"):
            limit = body_limit(method, path)
            most = bounds.MAX_BYTES_OF_ONE if path.startswith("/api/v1/") else bounds.MAX_FORM_BYTES_OF_ONE
            assert 0 < limit <= min(most, settings.FILE_UPLOAD_MAX_MEMORY_SIZE, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


def test_a_compressed_body_counts_as_what_it_becomes(every_byte_counts: None) -> None:
    budget = Budget(total=100_000, share=100_000)
    with HeldBody(budget) as held:
        request = IntakeRequest(
            caller=None,  # type: ignore[arg-type]
            request_id="1",
            headers={"content-encoding": "gzip"},
            body=gzip.compress(b" " * 90_000),
            hold=held.grow,
        )
        _unpacked(request, 100_000)
        assert budget.used == 90_000
        with pytest.raises(Problem, match="try again"):
            _unpacked(request, 100_000)
    assert budget.used == 0


def test_a_body_is_held_as_long_as_it_is_worked_on(every_byte_counts: None) -> None:
    budget = Budget(total=50, share=30)
    with HeldBody(budget) as held:
        assert asyncio.run(held.read(Exchange(b"a" * 10, b"b" * 10).receive, 100, owner=ONE)) == b"a" * 10 + b"b" * 10
        assert (budget.used, held.is_read) == (20, True)
    assert budget.used == 0


@pytest.mark.parametrize(("sizes", "limit", "status"), [([20, 20, 20], 25, 413), ([20, 20], 100, 503)])
def test_a_body_that_is_refused_is_held_no_longer(
    every_byte_counts: None, sizes: list[int], limit: int, status: int
) -> None:
    budget = Budget(total=50, share=30)
    with pytest.raises(Problem) as refused, HeldBody(budget) as held:
        asyncio.run(held.read(Exchange(*[b"x" * size for size in sizes]).receive, limit, owner=ONE))
    assert (refused.value.status_code, held.is_read, budget.used) == (status, status == 413, 0)


def test_a_client_that_goes_in_the_middle_leaves_nothing_behind(every_byte_counts: None) -> None:
    budget = Budget(total=50, share=30)
    exchange = Exchange(b"x" * 20, b"x")
    exchange.messages.pop()
    with pytest.raises(ClientGone), HeldBody(budget) as held:
        asyncio.run(held.read(exchange.receive, 100, owner=ONE))
    assert budget.used == 0


def test_a_budget_has_shares() -> None:
    budget = Budget(total=50, share=30)
    budget.take(ONE, 30)
    with pytest.raises(TooMuchError) as of_its_own:
        budget.take(ONE)
    budget.take(OTHER, 20)
    with pytest.raises(TooMuchError) as of_all:
        budget.take(OTHER)
    assert (of_its_own.value.is_ours, of_all.value.is_ours) == (False, True)
    budget.give_back(ONE, 30)
    with budget.hold(OTHER, 10):
        assert budget.used == 30
    assert budget.used == 20


def test_a_body_beyond_the_budget_is_told_to_come_again(every_byte_counts: None) -> None:
    with pytest.raises(Problem) as refused, HeldBody(Budget(share=30)) as held:
        held.grow(31)
    assert (refused.value.status_code, refused.value.headers) == (503, {"Retry-After": "1"})


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def sharing(clock: Clock) -> FairTime:
    """Two owners want something."""
    fair = FairTime(clock)
    fair.note(ONE)
    fair.note(OTHER)
    return fair


def test_the_more_an_owner_has_computed_lately_the_longer_it_waits() -> None:
    clock = Clock()
    fair = sharing(clock)
    fair.spend(ONE, bounds.FREE_TIME)
    assert fair.wait(ONE) <= 0
    fair.spend(ONE, 0.01)
    assert 0 < fair.wait(ONE) < 0.02
    assert fair.wait(OTHER) <= 0
    clock.now += 1.0
    waits = []
    for _ in range(10):
        fair.spend(ONE, 0.05)
        waits.append(fair.wait(ONE))
        clock.now += waits[-1]
        fair.note(ONE)
        fair.note(OTHER)
    assert waits == sorted(waits)
    clock.now += bounds.SAVED_TIME / bounds.TIME_SHARE + 1.0
    fair.note(ONE)
    assert (fair.used(ONE), fair.wait(ONE) <= 0) == (0.0, True)


def test_who_takes_less_than_its_share_never_waits() -> None:
    clock = Clock()
    fair = sharing(clock)
    for number in range(300):
        fair.spend(ONE, 0.025)
        # Now and then two at once.
        clock.now += 0.0 if number % 10 == 0 else 0.35
        fair.note(OTHER)
        fair.note(ONE)
        assert fair.wait(ONE) <= 0


def test_who_goes_on_and_on_has_its_share_of_the_time() -> None:
    clock = Clock()
    fair = sharing(clock)
    computed, began = 0.0, clock.now
    while clock.now < began + 100:
        fair.note(OTHER)
        fair.note(ONE)
        fair.spend(ONE, 0.02)
        computed += 0.02
        clock.now += 0.02 + fair.wait(ONE)
    assert computed / (clock.now - began) == pytest.approx(bounds.TIME_SHARE, rel=0.1)


def test_who_is_alone_waits_for_nobody_and_pays_for_nothing_of_it_later() -> None:
    clock = Clock()
    fair = sharing(clock)
    clock.now += bounds.ALONE_AFTER_SECONDS + 0.1
    fair.spend(ONE, 3600.0)
    assert fair.wait(ONE) <= 0
    fair.note(ONE)
    fair.note(OTHER)
    assert fair.wait(ONE) <= 0
    fair.spend(ONE, 0.02)
    assert fair.wait(ONE) == pytest.approx(0.02 / bounds.TIME_SHARE)


def test_who_comes_first_or_beside_probes_is_alone() -> None:
    async def run() -> None:
        fair, owner, django = FairTime(), uuid4(), SlowDjango()
        django.may_go_on.set()
        door = FrontDoor(django, fair)
        await asyncio.gather(*start(door, Exchange(path="/health/ready", method="GET")))
        for _ in range(2):
            exchange = Exchange(key=owner, method="GET")
            exchange.scope[CPU_SECONDS] = 1.0
            await asyncio.gather(*start(door, exchange, Exchange(path="/health/ready", method="GET")))
            assert fair.used(owner.int) > 0
            assert fair.wait(owner.int) <= 0

    asyncio.run(run())


def test_no_pause_is_longer_than_the_longest() -> None:
    fair = sharing(Clock())
    fair.spend(ONE, 3600.0)
    assert fair.wait(ONE) == bounds.LONGEST_PAUSE_SECONDS


def test_who_is_refused_again_and_again_waits_for_the_answer() -> None:
    clock = Clock()
    pace = RefusalPace(clock)
    waits = [pace.wait(ONE) for _ in range(bounds.REFUSALS_AT_ONCE + 10)]
    assert max(waits[: bounds.REFUSALS_AT_ONCE]) <= 0
    # One at a time.
    assert waits[-10:] == pytest.approx([turn / bounds.REFUSALS_A_SECOND for turn in range(1, 11)])
    assert pace.wait(OTHER) <= 0
    for _ in range(1_000):
        assert pace.wait(ONE) <= bounds.REFUSAL_WAIT_SECONDS
    clock.now += bounds.REFUSAL_WAIT_SECONDS + bounds.REFUSALS_AT_ONCE / bounds.REFUSALS_A_SECOND
    assert pace.wait(ONE) <= 0


@pytest.mark.parametrize("path", ["/api/v1/events", "/api/v1/x", "/API/v1/x"])
def test_refusals_of_the_intake_keep_their_pace(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And those of all other routes: each is told to whom it goes."""
    told: list[Any] = []

    async def keep(_: RefusalPace, owner: Any) -> None:
        told.append(owner)

    async def refuse(*_: Any) -> Any:
        raise Problem("invalid_api_key")

    monkeypatch.setattr(RefusalPace, "keep", keep)
    monkeypatch.setattr("ingestion.intake.door.authenticate", refuse)
    monkeypatch.setattr(IntakeDoor, "authenticate", refuse)

    async def run() -> None:
        exchange = Exchange(b"{}", path=path)
        await FrontDoor(SlowDjango(), FairTime())(exchange.scope, exchange.receive, exchange.send)
        assert exchange.status in (401, 404)

    asyncio.run(run())
    assert told == ["192.0.2.1"]


def test_who_has_computed_too_much_waits_and_nobody_waits_behind_him(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(bounds, "WAITING_SECONDS", 0.2)
        django = SlowDjango()
        django.may_go_on.set()
        door = FrontDoor(django, FairTime())
        greedy, modest = uuid4(), uuid4()
        for owner, seconds in ((modest, 0.02), (greedy, 100.0)):
            exchange = Exchange(key=owner, method="GET")
            exchange.scope[CPU_SECONDS] = seconds
            await asyncio.gather(*start(door, exchange))
            assert exchange.status == 200
        refused, served = Exchange(key=greedy, method="GET"), Exchange(key=modest, method="GET")
        await asyncio.gather(*start(door, *[Exchange(key=greedy, method="GET") for _ in range(20)], refused, served))
        assert (refused.status, served.status) == (503, 200)

    asyncio.run(run())


def test_probes_have_a_share_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for pages from their address, or for another probe without end, makes none of them wait."""

    async def run() -> None:
        monkeypatch.setattr(bounds, "WAITING_SECONDS", 0.2)
        django = SlowDjango()
        django.may_go_on.set()
        door = FrontDoor(django, FairTime())
        for path in ("/", "/health/nothing", "/health/ready"):
            spends = Exchange(path=path, method="GET")
            spends.scope[CPU_SECONDS] = 100.0
            await asyncio.gather(*start(door, Exchange(key=uuid4(), method="GET"), spends))
        asked = {
            path: Exchange(path=path, method="GET") for path in ("/health/live", "/health/ready", "/health/nothing")
        }
        await asyncio.gather(*start(door, *asked.values()))
        assert {path: each.status for path, each in asked.items()} == {
            "/health/live": 200, "/health/ready": 503, "/health/nothing": 503
        }  # fmt: skip

    asyncio.run(run())


def test_a_large_body_needs_room_for_all_of_it_before_it_is_read() -> None:
    large = bounds.RESERVED_FROM_BYTES
    budget = Budget(total=large, share=large)

    async def read(held: HeldBody, exchange: Exchange, declared: int) -> bytes:
        return await held.read(exchange.receive, 2 * large, owner=ONE, declared=declared)

    with HeldBody(budget) as first:
        asyncio.run(read(first, Exchange(b"x" * large), large))
        assert budget.used == large - bounds.UNCOUNTED_BODY_BYTES
        second = Exchange(b"x")
        with pytest.raises(Problem, match="try again"), HeldBody(budget) as held:
            asyncio.run(read(held, second, large))
        assert second.messages
    assert budget.used == 0


def test_a_small_body_is_taken_however_many_bytes_are_held() -> None:
    small = Exchange(b"x" * bounds.UNCOUNTED_BODY_BYTES)
    with HeldBody(Budget(total=0, share=0)) as held:
        assert asyncio.run(held.read(small.receive, 100_000, owner=ONE))


def test_a_place_that_was_waited_for_in_vain_is_lost_to_nobody() -> None:
    async def run() -> None:
        places = Places(total=1, share=1)

        async def stay(gone: asyncio.Event) -> None:
            async with places.place(ONE):
                await gone.wait()

        gone = asyncio.Event()
        holder = asyncio.create_task(stay(gone))
        waiting = [asyncio.create_task(stay(gone)) for _ in range(3)]
        await settle()
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        gone.set()
        await holder
        for owner in (ONE, OTHER):
            async with asyncio.timeout(5), places.place(owner):
                pass

    asyncio.run(run())


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/x", "/API/v1", "//api/v1", "///Api"])
def test_the_api_is_known_however_it_is_spelt(path: str) -> None:
    assert is_below_api(path)


@pytest.mark.parametrize("path", ["/", "/apis", "/console/api/", "", "*"])
def test_other_paths_are_not_the_apis(path: str) -> None:
    assert not is_below_api(path)


def test_a_client_of_ipv6_has_a_network() -> None:
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2:ffff::1") == "2001:db8:1:2::"
    assert (network_of("192.0.2.1"), network_of(None)) == ("192.0.2.1", "")
