"""The lane: who may be in it with whom."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from tfocheck.lane import Lane


def run(script: Callable[[Lane], Awaitable[None]]) -> None:
    async def main() -> None:
        await asyncio.wait_for(script(Lane()), 5)

    asyncio.run(main())


def test_shared_stays_overlap_exclusive_ones_do_not() -> None:
    async def script(lane: Lane) -> None:
        inside: list[str] = []
        seen: list[frozenset[str]] = []

        async def stay(name: str, *, exclusive: bool) -> None:
            async with lane.exclusive() if exclusive else lane.shared():
                inside.append(name)
                seen.append(frozenset(inside))
                await asyncio.sleep(0.01)
                inside.remove(name)

        await asyncio.gather(
            stay("a", exclusive=False),
            stay("b", exclusive=False),
            stay("C", exclusive=True),
            stay("d", exclusive=False),
            stay("E", exclusive=True),
        )
        assert frozenset("ab") in seen
        assert all(len(group) == 1 for group in seen if group & {"C", "E"})

    run(script)


def test_an_exclusive_stay_is_not_overtaken_for_ever() -> None:
    async def script(lane: Lane) -> None:
        order: list[str] = []

        async def stay(name: str, *, exclusive: bool) -> None:
            async with lane.exclusive() if exclusive else lane.shared():
                order.append(name)
                await asyncio.sleep(0.005)

        first = asyncio.create_task(stay("a", exclusive=False))
        await asyncio.sleep(0)
        later = [
            asyncio.create_task(stay(name, exclusive=name.isupper())) for name in ("B", "c", "d")
        ]
        await asyncio.gather(first, *later)
        assert order == ["a", "B", "c", "d"]

    run(script)


def test_who_gives_up_waiting_blocks_nobody() -> None:
    async def script(lane: Lane) -> None:
        async def stay() -> None:
            async with lane.exclusive():
                await asyncio.sleep(10)

        holder = asyncio.create_task(stay())
        await asyncio.sleep(0)
        waiting = asyncio.create_task(stay())
        await asyncio.sleep(0)
        waiting.cancel()
        holder.cancel()
        await asyncio.gather(holder, waiting, return_exceptions=True)
        async with lane.shared(), lane.shared():
            pass
        async with lane.exclusive():
            pass

    run(script)


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_turn_that_comes_with_the_cancellation_is_handed_on(exclusive: bool) -> None:
    async def script(lane: Lane) -> None:
        release = asyncio.Event()

        async def hold() -> None:
            async with lane.exclusive():
                await release.wait()

        async def stay() -> None:
            async with lane.exclusive() if exclusive else lane.shared():
                await asyncio.sleep(10)

        holder = asyncio.create_task(hold())
        await asyncio.sleep(0)
        waiting = asyncio.create_task(stay())
        await asyncio.sleep(0)
        release.set()
        await holder
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        async with lane.exclusive():
            pass

    run(script)


def test_a_rejection_beside_a_pending_fast_open_is_told() -> None:
    async def script(lane: Lane) -> None:
        before = time.monotonic()
        lane.begin_pending("accepted", before)
        assert lane.met_pending("rejected", before)
        assert not lane.met_pending("accepted", before)
        lane.end_pending("accepted")
        assert lane.met_pending("rejected", before)
        await asyncio.sleep(0.001)
        assert not lane.met_pending("rejected", time.monotonic())

    run(script)


def test_long_stays_wait_for_all_others() -> None:
    async def script(lane: Lane) -> None:
        lane.join("a")
        lane.join("b")
        long_stay = asyncio.create_task(lane.all_departed())
        await asyncio.sleep(0)
        lane.depart("a")
        await asyncio.sleep(0)
        assert not long_stay.done()
        lane.depart("b")
        lane.depart("b")
        await long_stay

    run(script)
