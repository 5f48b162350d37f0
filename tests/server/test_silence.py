"""A Fast Open that is met with silence: made once, for all who look at it."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools

import pytest
from rooms import Spoilt, a_case, in_session, reference, with_cookie

from tfocheck.case import Level, Outcome, Probe, Verdict
from tfocheck.judging.ballot import UnusableError
from tfocheck.memory.hosts import Endpoint
from tfocheck.server.opener import REPEAT_WAIT
from tfocheck.server.session import Session
from tfocheck.server.silence import judge_repeated_syn_ack
from tfocheck.server.silent_open import SilentOpen
from tfocheck.wire import options as tcp_options
from tfocheck.wire.options import FAST_OPEN
from tfocheck.wire.segment import Segment


def silent(endpoint: Endpoint | None = None) -> tuple[SilentOpen, Outcome]:
    """The silence, and what the repeated SYN-ACK is judged to be."""

    async def script(session: Session) -> tuple[SilentOpen, Outcome]:
        probe = await with_cookie(session, a_case(level=Level.SHOULD))
        found = await probe.silent_open()
        assert found.flow is not None
        return found, judge_repeated_syn_ack(probe, found.flow)

    return in_session(script, endpoint)


def test_a_silence_shows_the_repeated_syn_ack_and_what_is_held_back() -> None:
    found, outcome = silent()
    assert outcome.verdict is Verdict.PASS
    assert outcome.conclusive
    assert outcome.seen == "repeated after 1.0 s, with neither data nor the option"
    assert 0 < found.early < 20_000
    assert found.later
    assert found.not_repeated == 0


def test_the_repeated_syn_ack_may_not_carry_the_option() -> None:
    _, outcome = silent(reference("repeats-data"))
    assert outcome == Outcome(
        Verdict.WARN, "repeated after 1.0 s, with the Fast Open option", conclusive=True
    )


def test_data_on_it_is_a_breach_too() -> None:
    def gives(segment: Segment) -> list[Segment]:
        if not (segment.is_syn_ack and segment.payload):
            return [segment]
        kept = [each for each in segment.option_list.options if each.kind != FAST_OPEN]
        return [dataclasses.replace(segment, options=tcp_options.encode(kept))]

    _, outcome = silent(Spoilt(reference("repeats-data"), gives=gives))
    assert outcome == Outcome(Verdict.WARN, "repeated after 1.0 s, with data", conclusive=True)


def never_repeats(times: int = 1000) -> Endpoint:
    """A server of which only the first SYN-ACK to an open comes, so many times."""
    seen: dict[int, int] = {}
    silences = itertools.count(1)
    silenced: set[int] = set()

    def gives(segment: Segment) -> list[Segment]:
        port = segment.destination_port
        if not segment.is_syn_ack:
            return [segment]
        seen[port] = seen.get(port, 0) + 1
        if seen[port] == 2 and next(silences) <= times:
            silenced.add(port)
        return [] if port in silenced else [segment]

    return Spoilt(reference(), gives=gives)


def test_a_syn_ack_that_is_never_repeated_is_no_breach() -> None:
    found, outcome = silent(never_repeats())
    assert outcome == Outcome(Verdict.SKIP, f"the SYN-ACK was not repeated within {REPEAT_WAIT} s")
    assert found.not_repeated == 1


def test_where_packets_get_lost_it_is_looked_for_again() -> None:
    async def script(session: Session) -> tuple[int, int, int]:
        probe = await with_cookie(session)
        session.has_lost = True
        unusable = 0
        for _ in range(5):
            try:
                found = await probe.silent_open()
                break
            except UnusableError:
                unusable += 1
        return unusable, found.not_repeated, len(probe.evidence.flows)

    assert in_session(script, never_repeats())[:2] == (2, 3)
    assert in_session(script, never_repeats(1))[:2] == (1, 1)


def test_all_who_look_at_it_share_it() -> None:
    async def script(session: Session) -> None:
        probe = await with_cookie(session)
        others = [Probe(session, a_case(f"case.{number}")) for number in range(3)]
        found = await asyncio.gather(*(each.silent_open() for each in others))
        assert all(each is found[0] for each in found)
        opened = [flow for flow in session.flows if "then silence" in flow.label]
        assert len(opened) == 1
        assert all(opened[0] in each.evidence.flows for each in others)
        assert probe.evidence.flows[0] is not opened[0]

    in_session(script)


def test_a_cookie_that_is_not_honoured_shows_no_silence() -> None:
    async def script(session: Session) -> None:
        probe = await with_cookie(session)
        with pytest.raises(UnusableError, match="not honoured"):
            await probe.silent_open()
        assert session.silent_open.flow is None

    in_session(script, reference("never-accepts"))


def test_the_lane_is_ours_until_the_silence_is_over() -> None:
    async def script(session: Session) -> float:
        probe = await with_cookie(session)
        silence = asyncio.ensure_future(probe.silent_open())
        await session.clock.sleep(0.01)
        began = session.clock.monotonic()
        async with probe.beside_others("plain"):
            pass
        await silence
        return session.clock.monotonic() - began

    assert in_session(script) > 0.98
