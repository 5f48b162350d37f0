"""Turns for new connections: at once, at a rate, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tfocheck.engine.pace import Pace
from tfocheck.errors import UnreachableError
from tfocheck.memory.clock import START, VirtualClock


def run(script: Callable[[VirtualClock], Awaitable[None]]) -> None:
    clock = VirtualClock()

    async def main() -> None:
        await script(clock)

    clock.run(main())


async def turns(pace: Pace, clock: VirtualClock, count: int) -> list[float]:
    """When so many who ask at the same time get their turn, in the order of asking."""
    times: list[tuple[int, float]] = []

    async def ask(number: int) -> None:
        await pace.turn()
        times.append((number, round(clock.now - START, 6)))

    await asyncio.gather(*map(ask, range(count)))
    assert [number for number, _ in times] == list(range(count))
    return [time for _, time in times]


def test_without_a_rate_everybody_begins_at_once() -> None:
    async def script(clock: VirtualClock) -> None:
        assert await turns(Pace(clock), clock, 50) == [0.0] * 50

    run(script)


def test_at_a_rate_turns_are_apart_in_the_order_of_asking() -> None:
    async def script(clock: VirtualClock) -> None:
        pace = Pace(clock, rate=4)
        found = await turns(pace, clock, 4)
        assert found == pytest.approx([0.0, 0.25, 0.5, 0.75], abs=1e-5)
        # Who comes later does not have to make up for it, nor gains by it.
        await clock.sleep(10)
        began = clock.now - START
        found = await turns(pace, clock, 3)
        assert found == pytest.approx([began, began + 0.25, began + 0.5], abs=1e-5)

    run(script)


def test_it_only_gets_slower() -> None:
    pace = Pace(VirtualClock())
    pace.slow_down(10)
    assert pace.rate == 10
    pace.slow_down(20)
    assert pace.rate == 10
    pace.slow_down(3)
    assert pace.rate == 3


def test_while_a_silence_is_looked_into_nobody_gets_a_turn() -> None:
    async def script(clock: VirtualClock) -> None:
        for pace, expected in ((Pace(clock), [2.0] * 3), (Pace(clock, rate=1), [2.0, 3.0, 4.0])):
            began = clock.now - START
            with pace.held():
                waiting = asyncio.ensure_future(turns(pace, clock, 3))
                await clock.sleep(2)
                assert not waiting.done()
            assert await waiting == pytest.approx([began + each for each in expected], abs=1e-5)

    run(script)


def test_who_has_a_turn_already_waits_as_well() -> None:
    async def script(clock: VirtualClock) -> None:
        pace = Pace(clock, rate=1)
        await pace.turn()
        second = asyncio.ensure_future(pace.turn())
        await clock.sleep(0.5)
        with pace.held():
            await clock.sleep(2)
            assert not second.done()
        await second
        assert clock.now - START == pytest.approx(2.5, abs=1e-5)

    run(script)


def test_it_goes_on_when_looking_into_it_goes_wrong() -> None:
    async def script(clock: VirtualClock) -> None:
        pace = Pace(clock)
        with pytest.raises(ZeroDivisionError), pace.held():
            raise ZeroDivisionError
        await pace.turn()

    run(script)


def test_who_is_blocked_is_told_why() -> None:
    async def script(clock: VirtualClock) -> None:
        pace = Pace(clock)
        with pace.held():
            waiting = asyncio.ensure_future(pace.turn())
            await clock.sleep(1)
            pace.block("we are being blocked")
        for asked in (waiting, asyncio.ensure_future(pace.turn())):
            with pytest.raises(UnreachableError, match="we are being blocked"):
                await asked

    run(script)
