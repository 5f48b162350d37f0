"""A limit on new connections is found, measured and named; what is none is left alone."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest
from rooms import Nobody, Spoilt, in_session, is_syn, labels, reference

from tfocheck.errors import UnreachableError
from tfocheck.memory.hosts import PORT, Endpoint, Host, reference_host
from tfocheck.server.limits import BELOW, BURST, CALM, SECOND_LOOK, Limits
from tfocheck.server.session import Session
from tfocheck.wire.segment import Segment

LOOK = "control: is it a limit?"
Passes = Callable[[Segment, float], bool]


def with_limits(
    script: Callable[[Session, Limits], Awaitable[None]],
    endpoint: Endpoint | None = None,
    **how: object,
) -> None:
    """Run the script with a session whose SYNs are watched."""

    async def main(session: Session) -> None:
        limits = Limits(session)
        session.on_fate, session.on_silence = limits.note, limits.meet_silence
        session.on_refusal = limits.meet_refusal
        await script(session, limits)

    in_session(main, endpoint or reference_host(), **how)  # type: ignore[arg-type]


def looks(session: Session) -> int:
    return labels(session).count(LOOK)


def behind(passes: Passes) -> Endpoint:
    """The reference server on its ports behind something that drops SYNs."""
    return Spoilt(
        reference_host(), lambda segment, now: not is_syn(segment) or passes(segment, now)
    )


def bucket(rate: float, burst: int) -> Passes:
    """A token bucket for SYNs to whatever port."""
    tokens, last = float(burst), 0.0

    def passes(segment: Segment, now: float) -> bool:
        nonlocal tokens, last
        tokens, last = min(burst, tokens + (now - last) * rate), now
        if tokens < 1:
            return False
        tokens -= 1
        return True

    return passes


def silent_between(start: int, end: int) -> Passes:
    """The server's port does not answer SYNs from one number to another, counted from 1."""
    syns = itertools.count(1)

    def passes(segment: Segment, now: float) -> bool:
        return segment.destination_port != PORT or not start <= next(syns) < end

    return passes


async def knock(session: Session, count: int) -> None:
    for _ in range(count):
        flow = await session.plain_syn("plain")
        session.close_later(flow)


@pytest.mark.parametrize(("lost", "looked"), [(4, False), (5, True)])
def test_several_lost_ones_in_a_row_are_looked_into(lost: int, looked: bool) -> None:
    async def script(session: Session, limits: Limits) -> None:
        await knock(session, 2)
        await knock(session, lost)
        await session.clock.sleep(1)
        assert bool(looks(session)) is looked
        assert session.limit is None
        assert session.pace.rate is None

    with_limits(script, behind(silent_between(3, 3 + lost)))


def test_what_lies_far_apart_is_no_row() -> None:
    syns = itertools.count(1)

    async def script(session: Session, limits: Limits) -> None:
        await knock(session, 30)
        assert looks(session) == 0

    every_other = behind(lambda segment, _: segment.destination_port != PORT or next(syns) % 2 == 1)
    with_limits(script, every_other)


def test_where_nothing_was_ever_answered_there_is_no_limit_to_look_for() -> None:
    async def script(session: Session, limits: Limits) -> None:
        await knock(session, 10)
        assert looks(session) == 0

    with_limits(script, Nobody())


def test_answered_at_once_it_was_chance_and_is_left_alone_for_a_while() -> None:
    async def script(session: Session, limits: Limits) -> None:
        await knock(session, 7)
        await session.clock.sleep(1)
        assert looks(session) == BURST
        await limits.meet_silence()
        assert looks(session) == BURST
        await session.clock.sleep(CALM)
        await limits.meet_silence()
        assert looks(session) == 2 * BURST
        assert session.limit is None

    with_limits(script, behind(silent_between(3, 8)))


def test_what_is_lost_alike_slow_or_fast_is_no_limit() -> None:
    syns = itertools.count(1)

    async def script(session: Session, limits: Limits) -> None:
        await knock(session, 1)
        await limits.meet_silence()
        assert looks(session) > BURST
        assert session.limit is None
        assert session.pace.rate is None

    half = behind(lambda segment, _: segment.destination_port != PORT or next(syns) % 2 == 1)
    with_limits(script, half)


@pytest.mark.parametrize("rate", [5, 15, 40])
def test_a_rate_limit_is_measured_and_the_run_goes_on_below_it(rate: int) -> None:
    async def script(session: Session, limits: Limits) -> None:
        await knock(session, 1)
        await limits.meet_silence()
        assert session.limit is not None
        named = int(session.limit.split()[1])
        assert f"about {named} new connections a second are let through" in session.limit
        # It is measured over a second, and what had gathered in the bucket is let through as well.
        assert rate <= named <= rate + 5 + 1
        assert session.pace.rate == pytest.approx(BELOW * named)
        await session.finish()
        assert all(flow.resets_sent or flow.is_closed for flow in session.flows if flow.syn_acks)

    with_limits(script, behind(bucket(rate, 5)))


def test_while_it_is_looked_into_nobody_else_sends() -> None:
    async def script(session: Session, limits: Limits) -> None:
        await knock(session, 1)
        looking = asyncio.ensure_future(limits.meet_silence())
        await session.clock.sleep(0.001)
        other = asyncio.ensure_future(knock(session, 1))
        await session.clock.sleep(0.5)
        assert not looking.done()
        assert session.flows[-1].packets == [] or session.flows[-1].label == LOOK
        assert [flow.label for flow in session.flows if flow.packets][-1] == LOOK
        await asyncio.gather(looking, other)
        times = [flow.syn_time for flow in session.flows if flow.label == LOOK]
        plain = [flow.syn_time for flow in session.flows if flow.label == "plain"]
        assert max(time for time in times if time) <= (plain[-1] or 0.0)

    with_limits(script, behind(bucket(5, 5)))


def test_two_who_meet_a_silence_look_into_it_once() -> None:
    async def script(session: Session, limits: Limits) -> None:
        await knock(session, 1)
        await asyncio.gather(limits.meet_silence(), limits.meet_silence())
        assert looks(session) == BURST

    with_limits(script)


def test_when_everything_falls_silent_we_are_being_blocked() -> None:
    started: list[float] = []

    def passes(segment: Segment, now: float) -> bool:
        started.append(now)
        return now - started[0] < 1.0

    async def script(session: Session, limits: Limits) -> None:
        await knock(session, 1)
        await session.clock.sleep(2)
        before = session.clock.monotonic()
        await limits.meet_silence()
        assert session.clock.monotonic() - before > SECOND_LOOK
        assert session.limit is not None
        syns = sum(1 for flow in session.flows if flow.packets)
        assert session.limit == (
            f"we are being blocked: after {syns} SYNs from here nothing is answered any more"
        )
        with pytest.raises(UnreachableError, match="being blocked"):
            await session.plain_syn("plain")

    with_limits(script, behind(passes))


def test_a_server_that_falls_silent_at_a_host_that_answers_is_no_ban() -> None:
    started: list[float] = []

    def passes(segment: Segment, now: float) -> bool:
        started.append(now)
        return segment.destination_port != PORT or now - started[0] < 1.0

    async def script(session: Session, limits: Limits) -> None:
        await knock(session, 1)
        await session.clock.sleep(2)
        await limits.meet_silence()
        assert session.limit is None
        await knock(session, 1)

    with_limits(script, behind(passes))


def test_a_silence_that_ends_is_no_ban() -> None:
    started: list[float] = []

    def passes(segment: Segment, now: float) -> bool:
        started.append(now)
        return not 1.0 < now - started[0] < 8.0

    async def script(session: Session, limits: Limits) -> None:
        await knock(session, 1)
        await session.clock.sleep(2)
        await limits.meet_silence()
        assert session.limit is None
        await knock(session, 1)

    with_limits(script, Spoilt(Host({PORT: reference()}), passes))


# --- connections that are not served --------------------------------------------------------------


def served(passes: Callable[[float], bool]) -> Endpoint:
    """A server whose application answers a connection if it may, by when it was asked."""
    deaf: set[int] = set()

    def takes(segment: Segment, now: float) -> bool:
        if segment.payload and not is_syn(segment) and segment.source_port not in deaf:
            if passes(now):
                return True
            deaf.add(segment.source_port)
        return not (segment.payload and segment.source_port in deaf)

    return Spoilt(reference_host(), takes)


def test_connections_that_are_too_many_are_made_fewer() -> None:
    asked: list[float] = []

    def passes(now: float) -> bool:
        """None within a second of another one."""
        asked.append(now)
        return len(asked) < 2 or now - asked[-2] > 1.0

    async def script(session: Session, limits: Limits) -> None:
        await knock(session, 5)
        await limits.meet_refusal()
        assert session.limit is not None
        assert "they are not served any more, and are again after a while" in session.limit
        assert session.pace.rate is not None

    with_limits(script, served(passes))


def test_an_application_that_errs_now_and_then_is_no_limit() -> None:
    counted = itertools.count(1)

    async def script(session: Session, limits: Limits) -> None:
        await knock(session, 5)
        await limits.meet_refusal()
        assert session.limit is None
        assert looks(session) == 3
        # Nor is it looked into again at once.
        await limits.meet_refusal()
        assert looks(session) == 3

    with_limits(script, served(lambda _: next(counted) != 2))


def test_an_application_that_has_ended_is_no_limit() -> None:
    async def script(session: Session, limits: Limits) -> None:
        await knock(session, 5)
        await limits.meet_refusal()
        assert session.limit is None
        assert session.pace.rate is None

    with_limits(script, served(lambda _: False))
