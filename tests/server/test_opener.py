"""Connections that are opened: beside others, or alone where a Fast Open stays pending."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from rooms import (
    ROOM,
    Late,
    Nobody,
    Spoilt,
    a_case,
    in_session,
    labels,
    reference,
    with_cookie,
)

from tfocheck.case import Flow, Probe, Syn
from tfocheck.engine.places import Places
from tfocheck.engine.record import RECEIVE_WINDOW
from tfocheck.judging.ballot import UnansweredError, UnusableError
from tfocheck.memory.hosts import PORT, Endpoint
from tfocheck.reference.header import reset_for
from tfocheck.server.opener import REPEAT_WAIT, brings_other_cookie, how_unanswered
from tfocheck.server.session import Session
from tfocheck.wire import options as tcp_options
from tfocheck.wire.options import FastOpen
from tfocheck.wire.segment import Segment

FORGED = FastOpen(b"forged!!")


class Resetting(Nobody):
    """A closed port."""

    def receive(self, segment: Segment, now: float) -> list[Segment]:
        """A reset."""
        return [reset_for(segment)]


def run(
    script: Callable[[Session, Probe], Awaitable[None]],
    endpoint: Endpoint | None = None,
    *,
    cookie: bool = True,
    **how: object,
) -> None:
    """Run the script with a probe that has a valid cookie."""

    async def main(session: Session) -> None:
        probe = await with_cookie(session) if cookie else Probe(session, a_case())
        await script(session, probe)

    in_session(main, endpoint, **how)  # type: ignore[arg-type]


# --- a SYN and its answer -------------------------------------------------------------------------


def test_a_syn_is_an_everyday_one_with_these_fast_open_options() -> None:
    async def script(session: Session, probe: Probe) -> None:
        flow = probe.opener.new_flow("looked at")
        syn = Syn((FORGED,), b"hello", mss=1000, window=500)
        assert await probe.opener.answered_syn(flow, syn) is flow
        sent = flow.packets[0].segment
        assert (sent.payload, sent.window) == (b"hello", 500)
        assert sent.fast_open == FORGED
        assert sent.option_list.mss == 1000
        assert sent.option_list.timestamps is not None
        assert probe.evidence.flows[-1] is flow
        session.close_later(flow)

    run(script)


def test_an_option_area_replaces_the_everyday_one() -> None:
    area = tcp_options.encode([tcp_options.mss(700)])

    async def script(session: Session, probe: Probe) -> None:
        async with probe.beside_others("bytes", FORGED, options=area) as flow:
            assert flow.packets[0].segment.options == area
        # As a function it is given the timestamp from which ours go on.
        given: list[int] = []

        def stamped(timestamp: int) -> bytes:
            given.append(timestamp)
            return tcp_options.encode([tcp_options.timestamps(timestamp, 0)])

        async with probe.beside_others("function", options=stamped) as flow:
            assert flow.sent_timestamp == given[0]
            await session.clock.sleep(0.1)
            await flow.acknowledge()
            stamps = flow.packets[-1].segment.option_list.timestamps
            assert stamps is not None
            assert stamps[0] - given[0] in (101, 102)

    run(script)


def test_without_a_window_of_its_own_a_syn_announces_the_usual_one() -> None:
    async def script(session: Session, probe: Probe) -> None:
        async with probe.beside_others("looked at") as flow:
            assert flow.packets[0].segment.window == RECEIVE_WINDOW
            assert flow.server == (session.address, PORT)

    run(script)


@pytest.mark.parametrize(("endpoint", "how"), [(Nobody(), "no answer"), (Resetting(), "a reset")])
def test_no_syn_ack_is_no_answer_whatever_else_came(endpoint: Endpoint, how: str) -> None:
    async def script(session: Session, probe: Probe) -> None:
        with pytest.raises(UnansweredError) as caught:
            async with probe.beside_others("looked at"):
                raise AssertionError("it was not answered")
        assert caught.value.how == how
        assert session.has_lost
        assert how_unanswered(session.flows[-1]) == how

    run(script, endpoint, cookie=False)


def test_an_icmp_error_says_who_sent_it() -> None:
    async def script(session: Session, probe: Probe) -> None:
        flow = probe.opener.new_flow("looked at")
        await flow.send_syn(b"", ttl=2)
        await flow.wait(lambda: flow.is_answered, 1)
        assert how_unanswered(flow) == 'ICMP "time exceeded" from 10.77.1.2'

    run(script, scenario="routed", address="10.77.4.2", cookie=False)


def test_a_syn_ack_that_may_be_a_repeated_one_proves_nothing() -> None:
    """While one waited, another has shown how fast the path is."""
    syns = itertools.count(1)
    first: set[int] = set()

    def held(segment: Segment) -> bool:
        if segment.is_syn_ack and next(syns) == 1:
            first.add(segment.destination_port)
        return segment.destination_port in first

    class Slow(Late):
        def _hold(self, segments: object, now: float) -> list[Segment]:
            found = list(segments)  # type: ignore[call-overload]
            self._waiting += [(now + self._seconds, each) for each in found if self._held(each)]
            return [each for each in found if not self._held(each)]

    async def script(session: Session, probe: Probe) -> None:
        async def look(label: str) -> None:
            async with probe.beside_others(label):
                pass

        slow = asyncio.ensure_future(look("slow"))
        await session.clock.sleep(0.01)
        await look("fast")
        with pytest.raises(UnusableError, match=r"a SYN-ACK after 0\.9 s may be a repeated one"):
            await slow
        assert session.has_lost
        assert session.round_trips.smallest is not None
        assert session.round_trips.smallest < 0.01

    run(script, Slow(reference(), 0.9, held), cookie=False)


def test_each_answer_teaches_the_round_trip() -> None:
    async def script(session: Session, probe: Probe) -> None:
        assert session.round_trip == 0.3  # before any sample
        async with probe.beside_others("looked at"):
            pass
        assert session.round_trips.smallest == pytest.approx(0.1, abs=0.001)
        assert not session.has_lost

    run(script, cookie=False, delay=0.05)


# --- beside others --------------------------------------------------------------------------------


def test_what_an_empty_request_of_our_usual_address_brings_is_seen() -> None:
    async def script(session: Session, probe: Probe) -> None:
        async with probe.beside_others("another", FORGED, data=b"x") as flow:
            assert flow.offered is not None
        assert session.facts.cookies_seen == set()
        async with probe.beside_others("request", FastOpen(), source="10.0.0.3"):
            pass
        assert session.facts.cookies_seen == set()
        async with probe.beside_others("request", FastOpen()) as flow:
            assert flow.offered is not None
        assert session.facts.cookies_seen == {flow.offered.cookie}

    run(script, cookie=False)


def test_a_rejection_beside_a_pending_open_proves_nothing() -> None:
    async def script(session: Session, probe: Probe) -> None:
        cookie, data = FastOpen(probe.cookie), probe.payload.data
        async with probe.beside_others("taken all the same", cookie, data=data) as flow:
            assert flow.acknowledged == 1 + len(data)
            with pytest.raises(UnusableError, match="another Fast Open was pending"):
                async with probe.beside_others("rejected", FORGED, data=data, rejected=True):
                    pass
            # Who does not rest on a rejection need not mind.
            async with probe.beside_others("plain") as plain:
                assert plain.acknowledged == 1
        await session.finish()
        async with probe.beside_others("rejected", FORGED, data=data, rejected=True) as flow:
            assert flow.acknowledged == 1

    run(script)


def test_half_open_connections_are_bounded() -> None:
    """A listener's backlog may be short, and beyond it cookies stand in for options."""

    async def script(session: Session, probe: Probe) -> None:
        most = 0
        inside = 0

        async def look(number: int) -> None:
            nonlocal most, inside
            async with probe.beside_others(f"flow {number}"):
                inside += 1
                most = max(most, inside)
                await session.clock.sleep(0.1)
                inside -= 1

        await asyncio.gather(*map(look, range(100)))
        assert most == ROOM

    run(script, cookie=False)


def one_fits(session: Session) -> None:
    """From now on one half-open connection is known to fit into the listener's backlog."""
    session.lane.half_open = Places(1)
    session.lane.room = 1
    session.lane.backlog_is_short = True


def test_an_opening_waits_for_a_place_in_a_short_backlog_and_leaves_it_at_once() -> None:
    async def script(session: Session, probe: Probe) -> None:
        one_fits(session)
        async with probe.beside_others("half-open"):
            opening = asyncio.ensure_future(_open(probe))
            await session.clock.sleep(0.5)
            assert not opening.done()
        assert (await opening).acknowledged == 1 + len(probe.payload.data)
        # What was accepted has left the backlog; what fell back stays until it is closed.
        async with probe.alone("open", FastOpen(probe.cookie), data=probe.payload.data):
            assert not session.lane.half_open.are_taken
        async with probe.alone("forged", FORGED, data=probe.payload.data, may_fall_back=True):
            assert session.lane.half_open.are_taken
        assert not session.lane.half_open.are_taken

    run(script)


def test_an_opening_that_is_not_answered_keeps_no_place() -> None:
    async def script(session: Session, probe: Probe) -> None:
        session.facts.cookie = b"12345678"
        one_fits(session)
        with pytest.raises(UnansweredError):
            await _open(probe)
        assert not session.lane.half_open.are_taken

    run(script, Resetting(), cookie=False)


def test_a_half_open_connection_is_reset_and_an_open_one_completed() -> None:
    async def script(session: Session, probe: Probe) -> None:
        cookie, data = FastOpen(probe.cookie), probe.payload.data
        async with probe.beside_others("plain") as plain:
            pass
        async with probe.alone("open", cookie, data=data) as opened:
            pass
        await session.finish()
        assert [str(each.segment.flags) for each in plain.packets if each.sent] == [
            "SYN",
            "RST,ACK",
        ]
        assert opened.resets_sent == 0
        assert opened.is_closed

    run(script)


# --- alone ----------------------------------------------------------------------------------------


async def _open(probe: Probe, label: str = "open", *, may_fall_back: bool = False) -> Flow:
    cookie = FastOpen(probe.cookie)
    data = probe.payload.data
    async with probe.alone(label, cookie, data=data, may_fall_back=may_fall_back) as flow:
        return flow


def test_an_opening_leaves_the_lane_when_the_server_knows() -> None:
    async def script(session: Session, probe: Probe) -> None:
        cookie, data = FastOpen(probe.cookie), probe.payload.data
        async with probe.alone("open", cookie, data=data) as flow:
            assert session.lane.pending == [flow]
            shared = asyncio.ensure_future(_plain(probe))
            await session.clock.sleep(0.5)
            assert labels(session)[-1] == "plain"
            assert session.flows[-1].packets == []
        assert session.lane.pending == []
        assert flow.fin_acknowledged
        await shared

    run(script)


async def _plain(probe: Probe) -> Flow:
    async with probe.beside_others("plain") as flow:
        return flow


def test_another_connection_may_use_the_port_of_one_that_has_ended() -> None:
    async def script(session: Session, probe: Probe) -> None:
        first = await _open(probe)
        await session.finish()
        cookie = FastOpen(probe.cookie)
        async with probe.alone("again", cookie, after=first, mss=500, window=700) as flow:
            assert flow.port is first.port
            sent = flow.packets[0].segment
            assert (sent.option_list.mss, sent.window) == (500, 700)
            assert flow.isn != first.isn

    run(script)


def silent_syn_acks(*numbers: int) -> Endpoint:
    """A server of whose first SYN-ACKs, these get lost; their repetitions come."""
    counted = itertools.count(1)

    def gives(segment: Segment) -> list[Segment]:
        return [] if segment.is_syn_ack and next(counted) in numbers else [segment]

    return Spoilt(reference(), gives=gives)


def test_a_place_is_taken_until_a_lost_syn_ack_comes_again() -> None:
    async def script(session: Session, probe: Probe) -> None:
        began = session.clock.monotonic()
        with pytest.raises(UnansweredError):
            await _open(probe)
        # The server repeats it after a second; until it is answered its queue has it.
        assert 1.0 < session.clock.monotonic() - began < 1.2
        flow = session.flows[-1]
        assert flow.acknowledged == 1 + len(probe.payload.data)
        assert flow.fin_acknowledged
        assert session.lane.pending == []

    run(script, silent_syn_acks(2))


def test_after_a_lost_opening_several_may_be_pending() -> None:
    async def script(session: Session, probe: Probe) -> None:
        with pytest.raises(UnansweredError):
            await _open(probe)
        began = session.clock.monotonic()
        await asyncio.gather(*(_open(probe) for _ in range(4)))
        assert session.lane.places > 1
        assert session.clock.monotonic() - began < 0.02

    run(script, silent_syn_acks(2))


def test_what_is_never_answered_is_waited_for_as_long_as_a_repetition_takes() -> None:
    async def script(session: Session, probe: Probe) -> None:
        session.facts.cookie = b"12345678"
        began = session.clock.monotonic()
        with pytest.raises(UnansweredError):
            await _open(probe)
        took = session.clock.monotonic() - began
        assert REPEAT_WAIT < took < REPEAT_WAIT + 1.1
        assert session.lane.pending == []

    run(script, Nobody(), cookie=False)


def test_what_is_reset_needs_no_wait() -> None:
    async def script(session: Session, probe: Probe) -> None:
        session.facts.cookie = b"12345678"
        began = session.clock.monotonic()
        with pytest.raises(UnansweredError, match="a reset"):
            await _open(probe)
        assert session.clock.monotonic() - began < 0.1

    run(script, Resetting(), cookie=False)


def opened_together(
    endpoint: Endpoint, script: Callable[[Session, Probe], Awaitable[None]]
) -> None:
    """Run the script on a slow path on which two places have been proven."""

    async def main(session: Session, probe: Probe) -> None:
        session.lane.prove(2)
        await script(session, probe)

    run(main, endpoint, delay=0.05)


def test_on_a_slow_path_openings_that_are_pending_together_prove_places() -> None:
    async def script(session: Session, probe: Probe) -> None:
        assert session.lane.places == 1
        await asyncio.gather(*(_open(probe) for _ in range(4)))
        assert session.lane.places == 4

    run(script, delay=0.05)


async def _outcomes(*openings: Awaitable[Flow]) -> list[str]:
    found = await asyncio.gather(*openings, return_exceptions=True)
    return [str(each) if isinstance(each, Exception) else "fine" for each in found]


MET_FULL = "another Fast Open was pending at that moment"
FELL_BACK = "fell back beside other pending Fast Opens"


def test_an_opening_that_falls_back_beside_others_proves_nothing_and_narrows_the_lane() -> None:
    async def script(session: Session, probe: Probe) -> None:
        found = await _outcomes(*(_open(probe) for _ in range(2)))
        assert sorted(found) == [FELL_BACK, "fine"]
        assert session.lane.places == 1
        # From now on they are alone.
        assert await _outcomes(*(_open(probe) for _ in range(3))) == ["fine"] * 3

    opened_together(reference(pending_limit=1), script)


def test_one_that_may_fall_back_says_nothing_of_the_queue() -> None:
    async def script(session: Session, probe: Probe) -> None:
        found = await _outcomes(_open(probe), _open(probe, may_fall_back=True))
        assert found == ["fine", "fine"]
        assert session.lane.places == 2

    opened_together(reference(pending_limit=1), script)


async def _open_bare(probe: Probe) -> Flow:
    async with probe.alone("bare", FastOpen(probe.cookie)) as flow:
        return flow


def test_one_without_data_waits_for_a_place_that_is_free() -> None:
    async def script(session: Session, probe: Probe) -> None:
        openings = [_open(probe), _open(probe), _open_bare(probe), _open(probe)]
        assert await _outcomes(*openings) == ["fine"] * 4

    run(script)
    opened_together(reference(), script)


def test_without_data_nothing_tells_of_a_fallback_so_a_place_must_be_free() -> None:
    async def script(session: Session, probe: Probe) -> None:
        session.lane.begin_pending("what nobody knew of", session.clock.monotonic())
        assert await _outcomes(_open_bare(probe)) == [MET_FULL]

    run(script)


def test_one_that_may_fall_back_beside_a_full_lane_proves_nothing_either() -> None:
    async def script(session: Session, probe: Probe) -> None:
        openings = [_open(probe), _open(probe), _open(probe, may_fall_back=True)]
        found = await _outcomes(*openings)
        assert found == ["fine", "fine", FELL_BACK]
        assert session.lane.places == 2

    opened_together(reference(pending_limit=2), script)


def test_with_another_cookie_it_is_not_the_queue() -> None:
    server = reference()

    async def script(session: Session, probe: Probe) -> None:
        server.rotate(b"another key here")
        server.rotate(b"another key here")
        assert await _outcomes(*(_open(probe) for _ in range(2))) == ["fine", "fine"]
        assert session.lane.places == 2

    opened_together(server, script)


def test_without_data_a_fallback_can_not_be_seen() -> None:
    async def script(session: Session, probe: Probe) -> None:
        async def bare() -> Flow:
            async with probe.alone("bare", FastOpen(probe.cookie)) as flow:
                return flow

        assert await _outcomes(bare(), bare()) == ["fine", "fine"]

    opened_together(reference(pending_limit=1), script)


# --- cancellation in the middle -------------------------------------------------------------------


def test_who_is_cancelled_while_the_answer_is_under_way_leaves_nothing_pending() -> None:
    async def script(session: Session, probe: Probe) -> None:
        opening = asyncio.ensure_future(_open(probe))
        await session.clock.sleep(0.06)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        flow = session.flows[-1]
        assert session.lane.pending == []
        await session.finish()
        assert flow.is_closed
        assert flow.resets_sent == 0
        assert (await _open(probe)).acknowledged == 1 + len(probe.payload.data)

    run(script, delay=0.05)


def test_who_is_cancelled_while_waiting_for_a_place_blocks_nobody() -> None:
    async def script(session: Session, probe: Probe) -> None:
        async with probe.alone("open", FastOpen(probe.cookie), data=b"x"):
            waiting = [asyncio.ensure_future(_plain(probe)) for _ in range(70)]
            await session.clock.sleep(0.1)
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        assert (await _plain(probe)).acknowledged == 1
        await session.clock.sleep(0.1)  # until what was half-open is closed
        for _ in range(ROOM):
            assert not session.lane.half_open.are_taken
            await session.lane.half_open.acquire()

    run(script)


# --- what came back -------------------------------------------------------------------------------


def test_another_cookie_is_a_legal_one_that_was_not_sent() -> None:
    async def script(session: Session, probe: Probe) -> None:
        async with probe.beside_others("forged", FORGED, data=b"x") as flow:
            assert brings_other_cookie(flow)
            [first] = flow.syn_acks

            def answered(cookie: bytes) -> bool:
                area = tcp_options.encode([FastOpen(cookie).to_option()])
                flow.syn_acks[0] = replace(first, segment=replace(first.segment, options=area))
                return brings_other_cookie(flow)

            assert answered(b"12345678")
            assert not answered(FORGED.cookie)
            assert not answered(b"")
            assert not answered(b"odd")
            flow.syn_acks[0] = first
        async with probe.beside_others("plain") as flow:
            assert not brings_other_cookie(flow)

    run(script)


def test_where_the_data_of_any_syn_is_acknowledged_the_lane_stays_one_place_wide() -> None:
    async def script(session: Session, probe: Probe) -> None:
        session.lane.prove(3)
        assert not session.facts.acknowledges_plain_data
        async with probe.beside_others("plain, with data", data=b"GET") as flow:
            assert flow.acknowledged == 4
        assert session.facts.acknowledges_plain_data
        assert session.lane.places == 1
        assert session.lane.pending == []

    run(script, reference("accept-without-option"))
