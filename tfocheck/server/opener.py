"""Opens crafted connections: beside others, or where a Fast Open stays pending.

Rules that hold here:

* Whatever leaves a Fast Open pending goes through the lane, and leaves it when the server is known
  to have completed the handshake.
* A retry is a fresh flow; a SYN-ACK so late that it may be a repeated one proves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from tfocheck.engine.flow import Flow
from tfocheck.engine.record import RECEIVE_WINDOW
from tfocheck.judging.ballot import NothingToSeeError, UnansweredError, UnusableError
from tfocheck.server.evidence import Evidence
from tfocheck.server.session import Session
from tfocheck.wire.options import FastOpen

REPEAT_WAIT = 3.5
"""Seconds to wait for a repeated SYN-ACK: RFC 6298's timer is 1 s, that of older stacks 3 s."""

OptionArea = bytes | Callable[[int], bytes]


@dataclass(frozen=True)
class Syn:
    """What a SYN carries.

    ``options`` replaces the everyday option area, ``fast_open`` with it; as a function it is given
    the flow's timestamp, which must go on from there on later segments.
    """

    fast_open: tuple[FastOpen, ...] = ()
    data: bytes = b""
    options: OptionArea | None = None
    mss: int | None = None
    window: int = RECEIVE_WINDOW


class Opener:
    """Opens connections whose packets are evidence."""

    def __init__(self, session: Session, evidence: Evidence) -> None:
        self._session = session
        self._evidence = evidence
        self.twins: list[Flow] | None = None
        """Plain SYNs sent right behind each of ours, if a list is put here: what throws away one
        because of the moment (a rate limit, an outage) throws away the other."""

    def new_flow(
        self,
        label: str,
        *,
        after: Flow | None = None,
        source: str | None = None,
        port: int | None = None,
    ) -> Flow:
        """A fresh flow whose packets are evidence.

        ``after`` hands its port on; ``source`` and ``port`` as in ``Session.new_flow``.
        """
        session = self._session
        if after is None:
            flow = session.new_flow(label, source=source, port=port)
        else:
            flow = session.follow(after, label)
        self._evidence.adopt(flow)
        return flow

    async def answered_syn(self, flow: Flow, syn: Syn) -> Flow:
        """Send the SYN and wait for its SYN-ACK.

        Raises UnansweredError when none comes in time, and UnusableError for one so late that it
        may be a repeated one, which has no option.
        """
        session = self._session
        session.answerable.append(flow)
        await flow.send_syn(area_of(syn, session, flow), syn.data, window=syn.window)
        if self.twins is not None:
            self.twins.append(await session.send_plain_syn("control: plain SYN right behind it"))
        await session.await_syn_ack(flow)
        session.on_fate(flow)
        round_trip = flow.round_trip
        if round_trip is None:
            session.has_lost = True
            raise UnansweredError(how_unanswered(flow))
        if session.round_trips.may_be_repeated(round_trip):
            session.has_lost = True
            raise UnusableError(f"a SYN-ACK after {round_trip:.1f} s may be a repeated one")
        session.learn_round_trip(flow)
        return flow

    @contextlib.asynccontextmanager
    async def beside_others(
        self,
        label: str,
        *fast_open: FastOpen,
        data: bytes = b"",
        options: OptionArea | None = None,
        rejected: bool = False,
        source: str | None = None,
        port: int | None = None,
    ) -> AsyncIterator[Flow]:
        """A connection whose SYN leaves no Fast Open pending on a correct server.

        The lane is shared from the SYN to the SYN-ACK only. If the server takes it as a Fast Open
        all the same, others learn that their rejections prove nothing; with ``rejected`` this one
        asks for the same and raises UnusableError if it met a pending one. Where the data of any
        SYN is acknowledged, that it is says nothing of Fast Opens.
        """
        session, lane = self._session, self._session.lane
        flow = self.new_flow(label, source=source, port=port)
        syn = Syn(fast_open, data=data, options=options)
        await lane.half_open.acquire()
        try:
            async with lane.shared():
                since = self._session.clock.monotonic()
                await self.answered_syn(flow, syn)
                is_plain = not fast_open and options is None and port is None
                if flow.acknowledged != 1 and is_plain:
                    session.facts.acknowledges_plain_data = True
                    # An acknowledgment proves no place in the queue then, and shows no fallback.
                    lane.narrow(0)
                if flow.acknowledged != 1 and not session.facts.acknowledges_plain_data:
                    lane.begin_pending(flow, since)
                elif rejected and lane.met_full(flow, since):
                    raise UnusableError("another Fast Open was pending at that moment")
            if flow.offered is not None and fast_open == (FastOpen(),) and source is None:
                session.facts.cookies_seen.add(flow.offered.cookie)
            yield flow
        finally:
            session.run_later(self._close_half_open(flow))

    @contextlib.asynccontextmanager
    async def alone(
        self,
        label: str,
        *fast_open: FastOpen,
        data: bytes = b"",
        options: OptionArea | None = None,
        after: Flow | None = None,
        mss: int | None = None,
        window: int = RECEIVE_WINDOW,
        may_fall_back: bool = False,
    ) -> AsyncIterator[Flow]:
        """A connection that is meant to leave a Fast Open pending; the lane says how many may.

        The lane is left when the server is known to have completed the handshake. ``after`` is an
        ended flow whose port to use; ``mss`` and ``window`` are what we announce in bytes. Where a
        server ``may_fall_back`` rightly, that says nothing of its queue.
        """
        session, lane = self._session, self._session.lane
        flow = self.new_flow(label, after=after)
        syn = Syn(fast_open, data=data, options=options, mss=mss, window=window)
        fitted = lane.backlog_is_short is True  # with a place of its own
        async with (
            self._backlog_place() as place,
            lane.opening() if data else lane.bare_opening(),
        ):
            since = self._session.clock.monotonic()
            try:
                lane.begin_pending(flow, since)
                try:
                    await self.answered_syn(flow, syn)
                finally:
                    if flow.acknowledged != 1:
                        await place.aclose()  # what is accepted, or never came, takes none
                self._learn_places(flow, since, may_fall_back=may_fall_back, fitted=fitted)
                yield flow
            finally:
                leaving = asyncio.create_task(self._leave_queue(flow))
                session.run_later(self._close(flow, leaving))
                if flow.acknowledged is None:
                    # Accepted or not: its place is taken until that is known.
                    lane.widen_for(REPEAT_WAIT)
                await asyncio.wait([leaving])

    @contextlib.asynccontextmanager
    async def _backlog_place(self) -> AsyncIterator[contextlib.AsyncExitStack]:
        """A place among the half-open for an opening, where they are known to be few.

        Beyond a listener's backlog Linux answers with SYN cookies, and accepts no Fast Open. Taken
        before the lane, as all others do.
        """
        lane = self._session.lane
        async with contextlib.AsyncExitStack() as place:
            if lane.backlog_is_short:
                await place.enter_async_context(lane.half_open.urgently())
            yield place

    def _learn_places(self, flow: Flow, since: float, *, may_fall_back: bool, fitted: bool) -> None:
        """What an opening beside others says of the server's queue.

        One that is known to have ``fitted`` into a short backlog has met no SYN cookie.
        Raises UnusableError when it fell back and the others may be the reason.
        """
        lane = self._session.lane
        if flow.acknowledged != 1:
            is_telling = not self._session.facts.acknowledges_plain_data
            if is_telling and flow.syn_data and flow.acknowledged == 1 + len(flow.syn_data):
                self._session.note_acceptance(flow)
            # Our ACKs that are younger than this had not arrived when the server took this SYN.
            moment = self._session.clock.monotonic() - self._session.round_trips.least / 2
            beside = (each for each in lane.pending if isinstance(each, Flow))
            lane.prove(sum(each.was_pending_at(moment) for each in beside))
            return
        if brings_other_cookie(flow):
            return  # with a full queue there would be no cookie
        # Nothing tells whether this fell back; so it counts only where it had no reason to.
        if not flow.syn_data and lane.met_full(flow, since):
            raise UnusableError("another Fast Open was pending at that moment")
        if flow.offered is None and not fitted and lane.backlog_is_short is not False:
            # Which carries no cookie, and opens nothing.
            reason = "the listener's backlog is short: this may have met a SYN cookie"
            raise UnusableError(reason) if flow.syn_data else NothingToSeeError(reason)
        if not flow.syn_data:
            return
        others = lane.beside(flow, since)
        if others == 0 or (may_fall_back and others < lane.places):
            return
        if not may_fall_back:
            lane.narrow(others)
        raise UnusableError("fell back beside other pending Fast Opens")

    async def _leave_queue(self, flow: Flow) -> None:
        """See that the flow is not pending at the server any more."""
        round_trip = self._session.round_trip
        try:
            if flow.acknowledged is None and flow.reset is None and flow.icmp is None:
                # The SYN-ACK may have been lost: its repetition must not stay unanswered, or the
                # request stays pending at the server for a minute.
                await flow.wait(lambda: bool(flow.syn_acks or flow.reset), REPEAT_WAIT)
            if flow.acknowledged not in (None, 1) and not flow.fin_acknowledged:
                await flow.complete(round_trip)
        finally:
            self._session.lane.end_pending(flow)

    async def _close_half_open(self, flow: Flow) -> None:
        """The next one may come when this one has left the listener's backlog."""
        lane, session = self._session.lane, self._session
        # One whose SYN-ACK got lost stays there for seconds: that counts where room is short.
        leaves_early = flow.handshake_done or (
            flow.acknowledged is None and not lane.backlog_is_short
        )
        if leaves_early:
            lane.half_open.release()
        try:
            await self._leave_queue(flow)
            await flow.close(session.round_trip)
        finally:
            if not leaves_early:
                lane.half_open.release()

    async def _close(self, flow: Flow, leaving: Awaitable[None]) -> None:
        # The rest of the closing does not concern the server's queue.
        await leaving
        await flow.close(self._session.round_trip)


def brings_other_cookie(flow: Flow) -> bool:
    """True if a legal cookie came back that is not the one that was sent."""
    fresh = flow.offered
    sent = next((each.segment.fast_open for each in flow.packets if each.sent), None)
    if fresh is None or not fresh.has_legal_cookie or sent is None:
        return False
    return fresh.cookie != sent.cookie


def how_unanswered(flow: Flow) -> str:
    """What a SYN got instead of a SYN-ACK."""
    if flow.reset is not None:
        return "a reset"
    if flow.icmp is not None:
        return f"ICMP {flow.icmp.name} from {flow.icmp.sender}"
    return "no answer"


def area_of(syn: Syn, session: Session, flow: Flow) -> bytes:
    """The option area with which the flow sends this SYN."""
    if syn.options is None:
        return session.syn_options(*syn.fast_open, flow=flow, mss=syn.mss)
    return syn.options if isinstance(syn.options, bytes) else syn.options(flow.tsval)
