"""Questions asked at once share a call."""

import asyncio
from collections.abc import Sequence

import pytest

from core.ports.gathering import MOST, Gatherer


def test_questions_that_come_while_a_call_runs_share_the_next() -> None:
    calls: list[int] = []

    async def double(numbers: Sequence[int]) -> list[int]:
        calls.append(len(numbers))
        await asyncio.sleep(0)
        return [2 * number for number in numbers]

    async def ask() -> list[int]:
        gatherer: Gatherer[int, int] = Gatherer(double)
        return await asyncio.gather(*(gatherer.ask(number) for number in range(2 * MOST + 1)))

    assert asyncio.run(ask()) == [2 * number for number in range(2 * MOST + 1)]
    assert calls == [MOST, MOST, 1]


def test_a_failure_is_that_of_its_call_alone_and_who_went_away_disturbs_nobody() -> None:
    async def answer(questions: Sequence[str]) -> list[str]:
        if "bad" in questions:
            raise ValueError("no")
        return list(questions)

    async def scenario() -> None:
        gatherer: Gatherer[str, str] = Gatherer(answer)
        with pytest.raises(ValueError, match="no"):
            await gatherer.ask("bad")
        gone, stays = asyncio.create_task(gatherer.ask("a")), asyncio.create_task(gatherer.ask("b"))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == "b"

    asyncio.run(scenario())
