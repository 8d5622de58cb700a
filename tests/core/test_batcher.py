"""Questions asked at once share a call."""

import asyncio
from collections.abc import Sequence

import pytest

from core.ports.batcher import MOST, Batcher


def test_questions_that_come_while_a_call_runs_share_the_next() -> None:
    calls: list[int] = []

    async def double(numbers: Sequence[int]) -> list[int]:
        calls.append(len(numbers))
        await asyncio.sleep(0)
        return [2 * number for number in numbers]

    async def ask() -> list[int]:
        batcher: Batcher[int, int] = Batcher(double)
        return await asyncio.gather(*(batcher.ask(number) for number in range(2 * MOST + 1)))

    assert asyncio.run(ask()) == [2 * number for number in range(2 * MOST + 1)]
    assert calls == [MOST, MOST, 1]


def test_a_failure_is_that_of_its_call_alone_and_who_went_away_disturbs_nobody() -> None:
    async def answer(questions: Sequence[str]) -> list[str]:
        if "bad" in questions:
            raise ValueError("no")
        return list(questions)

    async def scenario() -> None:
        batcher: Batcher[str, str] = Batcher(answer)
        with pytest.raises(ValueError, match="no"):
            await batcher.ask("bad")
        gone, stays = batcher.ask("a"), batcher.ask("b")
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == "b"

    asyncio.run(scenario())


def test_a_call_takes_what_fits_by_count_and_bytes_and_at_least_one_item() -> None:
    calls: list[list[str]] = []

    async def answer(items: Sequence[str]) -> list[str]:
        calls.append(list(items))
        return list(items)

    async def scenario() -> None:
        batcher: Batcher[str, str] = Batcher(answer, most=3, most_bytes=10)
        items = [("a", 1, 4), ("b", 2, 6), ("c", 1, 1), ("d", 5, 1), ("e", 1, 99), ("f", 0, 0)]
        answers = [batcher.ask(item, count=count, size=size) for item, count, size in items]
        assert (batcher.count, batcher.size) == (10, 111)
        assert await asyncio.gather(*answers) == [item for item, _, _ in items]
        assert (batcher.count, batcher.size) == (0, 0)

    asyncio.run(scenario())
    assert calls == [["a", "b"], ["c"], ["d"], ["e"], ["f"]]


def test_with_a_pause_items_gather_for_a_call_until_there_are_enough() -> None:
    calls: list[list[int]] = []

    async def answer(items: Sequence[int]) -> list[int]:
        calls.append(list(items))
        return list(items)

    async def scenario() -> None:
        batcher: Batcher[int, int] = Batcher(answer, pause=3600.0, enough=3)
        assert await batcher.ask(0) == 0, "the first one waits for nothing"
        waiting = [batcher.ask(1)]
        for _ in range(10):
            await asyncio.sleep(0)
        waiting.append(batcher.ask(2))
        assert not any(one.done() for one in waiting)
        assert await asyncio.gather(*waiting, batcher.ask(3)) == [1, 2, 3]

    asyncio.run(scenario())
    assert calls == [[0], [1, 2, 3]]


def test_a_pause_ends_by_itself() -> None:
    async def answer(items: Sequence[int]) -> list[int]:
        return list(items)

    async def scenario() -> None:
        batcher: Batcher[int, int] = Batcher(answer, pause=0.01, enough=3)
        assert await batcher.ask(0) == 0
        assert await asyncio.wait_for(batcher.ask(1), 60) == 1

    asyncio.run(scenario())
