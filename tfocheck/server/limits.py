"""Limits on new connections: noticed by SYNs that get lost, measured once, and kept from then on.

A rate limit, a ban or a full backlog drops whatever comes, and would be laid on the stimulus of the
moment. So when several SYNs in a row stay unanswered, everybody else waits while plain SYNs are
sent, many at once and then slowly:

* answered at once: it was the stimulus, or chance;
* lost alike, slow or fast: the path loses packets, which is no limit;
* lost when fast, answered when slow: a limit. It is measured, and the run goes on below it;
* nothing at all: the server is silent, or we are banned. A port that nobody listens on tells the
  two apart where it was refused before and is not any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Coroutine
from typing import Any

from tfocheck.engine.flow import Flow
from tfocheck.engine.lane import SLOW_PATH
from tfocheck.server.application import Application
from tfocheck.server.session import Session
from tfocheck.wire.options import FastOpen

RECENT = 8
SUSPICIOUS = 5
"""So many of the ``RECENT`` SYNs without an answer are looked into."""

BURST = 8
SLOW = 6
SLOW_APART = 0.3
"""So many plain SYNs at once, and so many so many seconds apart, tell a limit from loss."""

STEPS = (6, 12, 25, 50, 100)
"""SYNs a second, each for a second, by which a limit is measured."""

BELOW = 0.7
"""The run keeps to this part of a limit: others use it, too."""

CALM = 5.0
"""Seconds for which a silence that is no limit is not looked into again."""

SECOND_LOOK = 10.0
"""Seconds after which a silence of everything is believed."""

FEW_HALF_OPEN = 6
MANY_HALF_OPEN = 32
"""So many half-open connections at a time are enough on a fast path, or on a slow one."""

PROOFS = 3
"""So often some of them must get no cookie before the backlog is called short."""

AT_ONCE = 3
"""Plain connections by which a limit is told from an application that errs now and then."""

REFUSALS = (1.0, 2.0, 4.0, 8.0)
"""Seconds after which a plain connection is tried again that was not served."""

LOOK_BACK = 10.0
"""Seconds over which the connections are counted that were too many."""

UNUSED_PORTS = (30_000, 32_768)


class Limits:
    """Watches the fates of SYNs to one address, and finds its limit."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._recent: deque[bool] = deque(maxlen=RECENT)
        self._looking: asyncio.Task[None] | None = None
        self._calm_until = 0.0
        self._unused_port: int | None = None
        self._has_asked_for_room = False
        self._is_refused: bool | None = None
        """Whether SYNs to a port that nobody listens on were answered by resets."""

    def note(self, flow: Flow) -> None:
        """Whether a SYN that any server answers has been answered."""
        answered = flow.syn_ack is not None
        if self._session.facts.cookie is not None and not self._has_asked_for_room:
            self._has_asked_for_room = True
            self._session.run_later(self._prove_room())
        if answered and self._is_refused is None:
            self._is_refused = False
            self._session.run_later(self._try_unused_port())
        self._recent.append(answered)
        if answered or self._recent.count(False) < SUSPICIOUS or self._looking is not None:
            return
        if True not in self._recent and self._is_refused is None:
            return  # nothing was ever answered
        if self._session.clock.monotonic() >= self._calm_until:
            self._begin(self._look())

    async def meet_silence(self) -> bool:
        """Plain SYNs are not answered: see what that means; False if that was seen just now."""
        if self._looking is None and self._session.clock.monotonic() >= self._calm_until:
            self._begin(self._look())
        return await self._have_looked()

    def _begin(self, look: Coroutine[Any, Any, None]) -> None:
        self._looking = asyncio.create_task(look)
        self._session.run_later(self._looking)

    async def meet_refusal(self) -> bool:
        """Plain connections are not served, which were before: see whether they are too many."""
        if self._looking is None and self._session.clock.monotonic() >= self._calm_until:
            self._begin(self._look_at_refusal())
        return await self._have_looked()

    async def _have_looked(self) -> bool:
        if self._looking is None:
            return False
        await asyncio.shield(self._looking)
        return True

    async def _look_at_refusal(self) -> None:
        session = self._session
        try:
            with session.pace.held():
                served = await asyncio.gather(*(self._is_served() for _ in range(AT_ONCE)))
                if sum(served) < AT_ONCE - 1:
                    await self._wait_to_be_served()
        finally:
            self._calm_until = session.clock.monotonic() + CALM
            self._looking = None

    async def _wait_to_be_served(self) -> None:
        session = self._session
        since = session.clock.time() - LOOK_BACK
        began = [flow.syn_time for flow in session.flows if flow.syn_time is not None]
        rate = sum(time > since for time in began) / min(LOOK_BACK, 0.1 + max(began) - min(began))
        for pause in REFUSALS:
            await session.clock.sleep(pause)
            if await self._is_served():
                session.limit = (
                    f"at about {rate:.0f} new connections a second they are not served any more,"
                    " and are again after a while"
                )
                session.pace.slow_down(max(1.0, rate / 4))
                return

    async def _is_served(self) -> bool:
        """Whether the application answers on a plain connection now."""
        session = self._session
        flow = await session.send_plain_syn("control: is it a limit?", paced=False)
        await session.await_syn_ack(flow)
        try:
            if flow.syn_ack is None:
                return False
            found = await Application(session).converse(flow, session.payload.data, session.timeout)
            return found is not None
        finally:
            session.close_later(flow)

    async def _prove_room(self) -> None:
        """See how many half-open connections fit: a backlog that is full gives no cookies."""
        session = self._session
        is_slow = session.round_trips.least >= SLOW_PATH
        count = MANY_HALF_OPEN if is_slow else FEW_HALF_OPEN

        async def ask() -> bool | None:
            flow = session.new_flow("control: requests at the same time")
            await flow.send_syn(session.syn_options(FastOpen(), flow=flow))
            await session.await_syn_ack(flow)
            session.close_later(flow)
            trip = flow.round_trip
            if trip is None or session.round_trips.may_be_repeated(trip):
                return None  # a repeated SYN-ACK carries no option
            return flow.offered_cookie is not None

        lane, fits = session.lane, list[int]()
        lane.backlog_is_short = None
        try:
            # A SYN that the network doubles may be answered without a cookie: once is chance. Nor
            # do cookies come while the queue of pending requests is full.
            for number in range(PROOFS):
                async with lane.shared() if number else contextlib.nullcontext():
                    got = await asyncio.gather(*(ask() for _ in range(count)))
                fits.append(got.count(True))
                # What was lost proves nothing, but all of them may be what did not fit.
                are_enough = fits[-1] > count // 3
                if False not in got and (are_enough or number == 0):
                    lane.have_room(count if are_enough else 1)
                    return
            self._keep_to(min(fits), count)
        finally:
            if lane.backlog_is_short is None:
                lane.backlog_is_short = False

    def _keep_to(self, fit: int, count: int) -> None:
        """Of so many half-open connections only these fitted into the listener's backlog."""
        session = self._session
        session.lane.backlog_is_short = True
        session.lane.have_room(max(1, fit - 1))  # one may have left before the last came
        if session.limit is None:
            session.limit = (
                f"of {count} cookie requests at the same time {fit} got a cookie: the"
                " listener's backlog is short, and beyond it are SYN cookies, which carry none"
            )

    async def _try_unused_port(self) -> None:
        self._unused_port = UNUSED_PORTS[0] + secrets.randbelow(UNUSED_PORTS[1] - UNUSED_PORTS[0])
        self._is_refused = await self._is_refusing()

    async def _look(self) -> None:
        session = self._session
        try:
            with session.pace.held():
                if (burst := await self._answered(BURST, apart=0.0)) < BURST - 1:
                    await self._compare(burst)
        finally:
            self._recent.clear()
            self._calm_until = session.clock.monotonic() + CALM
            self._looking = None

    async def _compare(self, burst: int) -> None:
        await self._session.clock.sleep(1.0)
        slow = await self._answered(SLOW, apart=SLOW_APART)
        if slow == burst == 0:
            await self._tell_ban_from_silence()
        elif slow >= SLOW - 1 and burst * SLOW < 0.75 * slow * BURST:
            await self._measure()

    async def _measure(self) -> None:
        let_through = 0
        for rate in STEPS:
            count = await self._answered(rate, apart=1 / rate)
            let_through = max(let_through, count)
            if count < 0.85 * rate:
                break
        self._session.limit = (
            f"about {let_through} new connections a second are let through from here"
        )
        self._session.pace.slow_down(max(1.0, BELOW * let_through))

    async def _tell_ban_from_silence(self) -> None:
        """Nothing is answered: find out whether that is the server's silence, or everything's."""
        session = self._session
        until = session.clock.monotonic() + SECOND_LOOK
        while session.clock.monotonic() < until:
            if self._is_refused and await self._is_refusing():
                return  # the host answers, the server does not
            if await self._answered(1, apart=0.0):
                return
            await session.clock.sleep(1.0)
        count = sum(flow.first_syn is not None for flow in session.flows)
        session.limit = (
            f"we are being blocked: after {count} SYNs from here nothing is answered any more"
        )
        session.pace.block(session.limit)

    async def _answered(self, count: int, *, apart: float) -> int:
        """How many of so many plain SYNs, so many seconds apart, are answered."""

        async def ask(after: float) -> bool:
            await self._session.clock.sleep(after)
            flow = await self._session.send_plain_syn("control: is it a limit?", paced=False)
            await self._session.await_syn_ack(flow)
            self._session.close_later(flow)
            return flow.syn_ack is not None

        return sum(await asyncio.gather(*(ask(number * apart) for number in range(count))))

    async def _is_refusing(self) -> bool:
        """Whether a SYN to a port that nobody listens on is answered at all."""
        session, port = self._session, self._unused_port
        assert port is not None
        session.watch_port(port)
        for _ in range(2):
            flow = session.new_flow(f"control: plain SYN to port {port}", port=port, paced=False)
            await flow.send_syn(session.syn_options(flow=flow))
            await session.await_syn_ack(flow)
            session.close_later(flow)
            if flow.is_answered:
                return True
        return False
