"""The lane: who may be in it with whom."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tfocheck.engine.lane import Lane
from tfocheck.memory.clock import VirtualClock


def run(script: Callable[[Lane], Awaitable[None]]) -> None:
    clock = VirtualClock()

    async def main() -> None:
        await script(Lane(clock))

    clock.run(main())


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
        async def stay() -> None:
            async with lane.exclusive() if exclusive else lane.shared():
                raise AssertionError("cancelled before it came in")

        async with lane.exclusive():
            waiting = asyncio.create_task(stay())
            await asyncio.sleep(0)
        # It has its turn now, and has not come in yet.
        waiting.cancel()
        behind = asyncio.create_task(_come_and_go(lane))
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.wait_for(behind, 1)

    run(script)


async def _come_and_go(lane: Lane) -> None:
    async with lane.exclusive():
        pass


def test_nothing_joins_an_opening() -> None:
    async def script(lane: Lane) -> None:
        async with lane.opening():
            shared = asyncio.create_task(lane.shared().__aenter__())
            await asyncio.sleep(0.01)
            assert not shared.done()
            shared.cancel()

    run(script)


def test_of_one_place_only_a_second_opening_is_tried() -> None:
    async def script(lane: Lane) -> None:
        async with lane.opening(), lane.opening():
            third = asyncio.create_task(lane.opening().__aenter__())
            await asyncio.sleep(0.01)
            assert not third.done()
            third.cancel()

    run(script)


def test_a_lane_of_one_place_is_kept_in_order_of_arrival() -> None:
    async def script(lane: Lane) -> None:
        order: list[str] = []

        async def stay(name: str, side: str) -> None:
            async with getattr(lane, side)():
                order.append(name)
                await asyncio.sleep(0.01)

        await asyncio.gather(
            stay("a", "shared"),
            stay("B", "opening"),
            stay("c", "shared"),
            stay("d", "shared"),
            stay("E", "exclusive"),
            stay("f", "shared"),
        )
        assert order == ["a", "B", "c", "d", "E", "f"]

    run(script)


def test_an_exclusive_stay_is_not_overtaken_where_there_are_places() -> None:
    async def script(lane: Lane) -> None:
        lane.prove(3)
        order: list[str] = []

        async def stay(name: str, side: str) -> None:
            async with getattr(lane, side)():
                order.append(name)
                await asyncio.sleep(0.01)

        await asyncio.gather(
            stay("a", "shared"), stay("B", "exclusive"), stay("c", "shared"), stay("d", "opening")
        )
        assert order == ["a", "B", "c", "d"]

    run(script)


def test_pending_are_those_that_have_not_ended() -> None:
    async def script(lane: Lane) -> None:
        now = asyncio.get_running_loop().time
        lane.begin_pending("one", now())
        lane.begin_pending("two", now())
        assert lane.pending == ["one", "two"]
        lane.end_pending("one")
        assert lane.pending == ["two"]
        lane.end_pending("two")
        lane.end_pending("two")
        assert lane.pending == []

    run(script)


def test_others_count_if_they_were_pending_at_the_same_moment() -> None:
    async def script(lane: Lane) -> None:
        now = asyncio.get_running_loop().time
        began = now()
        for name in ("first", "second"):
            lane.begin_pending(name, now())
            await asyncio.sleep(1)
            lane.end_pending(name)
            await asyncio.sleep(0.1)
        # One after the other: never two at a time.
        assert lane.beside("rejected", began) == 1
        assert lane.beside("first", began) == 1
        assert lane.beside("second", began) == 1
        assert lane.beside("rejected", now()) == 0
        # Its end may be ended once only: a later one does not make it longer.
        lane.end_pending("first")
        assert lane.beside("rejected", began + 1.5) == 1

    run(script)


@pytest.mark.parametrize(("seconds", "most"), [(0.004, 2), (0.005, 4), (0.3, 4)])
def test_from_five_milliseconds_on_more_are_opened_at_a_time(seconds: float, most: int) -> None:
    async def script(lane: Lane) -> None:
        lane.widen_for(seconds)
        assert max(count for count, _ in await _together(lane, openings=6, shared=0)) == most

    run(script)


@pytest.mark.parametrize(
    ("seconds", "proven", "most"), [(0.001, 2, 4), (0.001, 3, 4), (0.1, 2, 8), (0.1, 8, 16)]
)
def test_however_many_are_proven_there_is_a_bound(seconds: float, proven: int, most: int) -> None:
    async def script(lane: Lane) -> None:
        lane.widen_for(seconds)
        lane.prove(proven)
        assert max(count for count, _ in await _together(lane, openings=40, shared=0)) == most

    run(script)


def test_who_waits_already_comes_in_when_the_lane_widens() -> None:
    async def script(lane: Lane) -> None:
        inside: list[str] = []

        async def stay(side: str) -> None:
            async with getattr(lane, side)():
                inside.append(side)
                await asyncio.sleep(100)

        stays = [asyncio.create_task(stay("opening")) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert inside == ["opening"] * 2
        lane.widen_for(0.1)
        await asyncio.sleep(0.01)
        assert inside == ["opening"] * 3
        stays.append(asyncio.create_task(stay("shared")))
        await asyncio.sleep(0.01)
        assert inside == ["opening"] * 3
        lane.prove(4)
        await asyncio.sleep(0.01)
        assert inside == ["opening", "opening", "opening", "shared"]
        for each in stays:
            each.cancel()
        await asyncio.gather(*stays, return_exceptions=True)
        await asyncio.wait_for(_come_and_go(lane), 1)

    run(script)


def test_fewer_places_than_known_prove_nothing() -> None:
    async def script(lane: Lane) -> None:
        lane.prove(4)
        lane.prove(2)
        assert lane.places == 4

    run(script)


@pytest.mark.parametrize(("others", "places"), [(3, 1), (4, 4), (5, 4)])
def test_one_that_falls_back_beside_fewer_than_are_proven_shows_other_clients(
    others: int, places: int
) -> None:
    async def script(lane: Lane) -> None:
        lane.prove(4)
        lane.narrow(others)
        assert lane.places == places
        lane.widen_for(1.0)
        # With one place the lane does not grow again.
        seen = await _together(lane, openings=8, shared=0)
        assert max(count for count, _ in seen) == places

    run(script)


@pytest.mark.parametrize(("places", "waits"), [(1, True), (2, True), (3, False)])
def test_with_places_to_spare_a_long_stay_disturbs_nobody(places: int, waits: bool) -> None:
    async def script(lane: Lane) -> None:
        lane.join("a")
        stay = asyncio.create_task(lane.room_for_long())
        await asyncio.sleep(0)
        lane.prove(places)
        await asyncio.sleep(0.01)
        assert stay.done() is not waits
        if not waits:
            lane.narrow(1)
            again = asyncio.create_task(lane.room_for_long())
            await asyncio.sleep(0.01)
            assert not again.done()
            again.cancel()
        stay.cancel()

    run(script)


def test_where_nobody_has_come_there_is_room() -> None:
    async def script(lane: Lane) -> None:
        await asyncio.wait_for(lane.room_for_long(), 1)

    run(script)


def test_a_rejection_beside_a_pending_fast_open_is_told() -> None:
    async def script(lane: Lane) -> None:
        before = asyncio.get_running_loop().time()
        lane.begin_pending("accepted", before)
        assert lane.met_full("rejected", before)
        assert not lane.met_full("accepted", before)
        lane.end_pending("accepted")
        assert lane.met_full("rejected", before)
        await asyncio.sleep(0.001)
        assert not lane.met_full("rejected", asyncio.get_running_loop().time())

    run(script)


def test_long_stays_wait_for_all_others() -> None:
    async def script(lane: Lane) -> None:
        lane.join("a")
        lane.join("b")
        long_stay = asyncio.create_task(lane.room_for_long())
        await asyncio.sleep(0)
        lane.depart("a")
        await asyncio.sleep(0)
        assert not long_stay.done()
        lane.depart("b")
        lane.depart("b")
        await long_stay

    run(script)


def test_nothing_runs_beside_what_has_no_place_to_spare() -> None:
    async def script(lane: Lane) -> None:
        lane.widen_for(0.001)
        lane.prove(1)
        assert await _together(lane, openings=3, shared=2) == {(1, 0), (2, 0), (0, 1), (0, 2)}

    run(script)


def test_on_a_slow_path_what_was_proven_makes_room() -> None:
    async def script(lane: Lane) -> None:
        lane.widen_for(0.1)
        lane.prove(3)
        seen = await _together(lane, openings=4, shared=2)
        # One place stays free while somebody shares the lane.
        assert max(openings for openings, shared in seen if shared) == 2

    run(script)


def test_the_lane_grows_only_while_nobody_shares_it() -> None:
    async def script(lane: Lane) -> None:
        lane.widen_for(0.1)
        seen = await _together(lane, openings=6, shared=0)
        assert max(openings for openings, _ in seen) == 4

    run(script)


def test_a_fallback_beside_others_ends_the_growth() -> None:
    async def script(lane: Lane) -> None:
        lane.widen_for(0.1)
        lane.prove(4)
        lane.narrow(others=6)
        assert lane.places == 4
        lane.prove(8)
        assert lane.places == 4
        assert max(openings for openings, _ in await _together(lane, openings=9, shared=0)) == 4
        lane.narrow(others=2)
        assert lane.places == 1
        assert await _together(lane, openings=3, shared=0) == {(1, 0)}

    run(script)


def test_a_rejection_counts_while_a_place_is_free() -> None:
    async def script(lane: Lane) -> None:
        lane.widen_for(0.1)
        lane.prove(3)
        before = asyncio.get_running_loop().time()
        lane.begin_pending("one", before)
        lane.begin_pending("two", before)
        assert lane.beside("rejected", before) == 2
        assert not lane.met_full("rejected", before)
        lane.begin_pending("three", asyncio.get_running_loop().time())
        assert lane.met_full("rejected", before)

    run(script)


async def _together(lane: Lane, *, openings: int, shared: int) -> set[tuple[int, int]]:
    """Let so many stay; how many of each were seen inside at the same moment."""
    inside = [0, 0]
    seen: set[tuple[int, int]] = set()

    async def stay(kind: int) -> None:
        async with lane.shared() if kind else lane.opening():
            inside[kind] += 1
            seen.add((inside[0], inside[1]))
            await asyncio.sleep(0.01)
            inside[kind] -= 1

    await asyncio.gather(*(stay(1) for _ in range(shared)), *(stay(0) for _ in range(openings)))
    return seen


def test_what_tells_nothing_of_a_fallback_waits_for_a_place_that_is_proven() -> None:
    async def script(lane: Lane) -> None:
        lane.prove(2)
        async with lane.opening():
            async with lane.bare_opening():
                another = asyncio.create_task(lane.bare_opening().__aenter__())
                await asyncio.sleep(0.01)
                assert not another.done()
            await asyncio.sleep(0.01)
            assert another.done()

    run(script)
