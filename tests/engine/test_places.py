"""Places that are few: who comes in when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tfocheck.engine.places import Places
from tfocheck.memory.clock import VirtualClock


def run(script: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await script()

    VirtualClock().run(main())


def test_who_is_urgent_comes_in_first_and_each_kind_in_order() -> None:
    async def script() -> None:
        places, order = Places(1), list[str]()

        async def stay(name: str) -> None:
            await places.acquire(urgent=name.isupper())
            order.append(name)
            await asyncio.sleep(1)
            places.release()

        await asyncio.gather(*map(stay, "abCdE"))
        assert "".join(order) == "aCEbd"
        assert not places.are_taken

    run(script)


def test_more_places_let_in_who_waits() -> None:
    async def script() -> None:
        places = Places(1)
        waiting = [asyncio.ensure_future(places.acquire()) for _ in range(4)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [each.done() for each in waiting] == [True, False, False, False]
        places.release(2)
        await asyncio.sleep(0)
        assert [each.done() for each in waiting] == [True, True, True, False]
        assert places.are_taken
        waiting[3].cancel()

    run(script)


def test_a_place_is_left_whatever_happens() -> None:
    async def script() -> None:
        places = Places(1)
        async with places.urgently():
            assert places.are_taken
            waiting = [asyncio.ensure_future(places.acquire()) for _ in range(2)]
            await asyncio.sleep(0)
            waiting[0].cancel()  # while it waits
        waiting[1].cancel()  # in the moment when its turn comes
        await asyncio.gather(*waiting, return_exceptions=True)
        assert not places.are_taken

    run(script)
