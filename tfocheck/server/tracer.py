"""Looks at a route hop by hop: SYNs with a small TTL, and what the routers quote of them.

A router where the TTL runs out sends the packet's beginning back (RFC 792, RFC 4443). Compared with
what was sent, the quotes of successive routers tell between which two of them an option was taken
out, a number was shifted or a packet was thrown away. The idea is that of tracebox (Detal et al.,
"Revealing middlebox interference with tracebox", IMC 2013).

Stimuli are sent to each hop before the server, never to the server itself: what the server makes of
them is what the cases look at.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from tfocheck.engine.flow import Flow
from tfocheck.model.route import AFTER_OPEN, DATA, OPEN, OPTION, PLAIN, Echo, Route
from tfocheck.server.attempt import Attempt
from tfocheck.server.opener import Syn, area_of
from tfocheck.server.session import Session
from tfocheck.wire.evidence import Captured
from tfocheck.wire.options import FastOpen
from tfocheck.wire.quote import compare

FARTHEST = 30
FIRST_BATCH = 8
PAUSES = (0.0, 0.3, 1.1)
"""Seconds before each try: routers limit how many errors they send, Linux to one a second."""

UNUSED_PORTS = (30_000, 32_768)
"""No service is usually found in there, nor do systems take client ports from it."""


class Tracer:
    """Sends the stimuli of one address, hop by hop."""

    def __init__(self, session: Session, attempt: Attempt, known: Route | None = None) -> None:
        self._session = session
        self._attempt = attempt
        self.route = known or Route()

    async def trace(self, *, cookie: bytes | None) -> Route:
        """Find the routers by plain SYNs, then see how the others fare there."""
        await self._find_routers()
        data = self._session.payload.data
        stimuli = {OPTION: Syn((FastOpen(),)), DATA: Syn(data=data)}
        if cookie is not None:
            stimuli[OPEN] = Syn((FastOpen(cookie),), data=data)
        for name, syn in stimuli.items():
            await self.follow(name, syn)
        return self.route

    async def follow(self, name: str, syn: Syn) -> None:
        """See how a stimulus fares at the routers that plain SYNs have found."""
        self.route.echoes[name] = {}
        await self._send_to(sorted(self.route.echoes[PLAIN]), name, syn)

    async def _find_routers(self) -> None:
        self.route.echoes[PLAIN] = {}
        first = 1
        while first <= FARTHEST and self.route.reached_at is None:
            batch = range(first, min(first + FIRST_BATCH, FARTHEST + 1))
            await self._send_to(batch, PLAIN, Syn())
            first = batch.stop
            if self.route.reached_at is None and not any(
                ttl in self.route.echoes[PLAIN] for ttl in batch
            ):
                break  # nothing but silence: it will not get better behind it
        if self.route.reached_at is not None:
            plain = self.route.echoes[PLAIN]
            for ttl in [ttl for ttl in plain if ttl >= self.route.reached_at]:
                del plain[ttl]

    async def _send_to(self, ttls: Sequence[int], name: str, syn: Syn) -> None:
        """Send the stimulus with each of these TTLs until it is answered, at most some times."""
        left = list(ttls)
        for pause in PAUSES:
            if not left:
                return
            await self._session.clock.sleep(pause)
            await asyncio.gather(*(self._send(ttl, name, syn) for ttl in left))
            reached = self.route.reached_at or FARTHEST + 1
            known = self.route.echoes[name]
            left = [ttl for ttl in left if ttl not in known and ttl < reached]

    async def _send(self, ttl: int, name: str, syn: Syn) -> None:
        session = self._session
        flow = self._attempt.opener.new_flow(f"{name}, TTL {ttl}")
        await flow.send_syn(area_of(syn, session, flow), syn.data, ttl=ttl)
        await session.await_syn_ack(flow)
        session.close_later(flow)
        sent = next((each for each in flow.packets if each.sent), None)
        if name == PLAIN and (flow.syn_acks or flow.reset):
            self.route.reached_at = min(ttl, self.route.reached_at or ttl)
        for error in flow.icmps:
            if error.is_time_exceeded and sent is not None:
                self._note(ttl, name, sent, error.sender, error.quote, error.time)

    def _note(
        self, ttl: int, name: str, sent: Captured, router: str, quote: bytes, time: float
    ) -> None:
        found = compare(sent.segment, quote)
        if found is not None:
            seconds = max(0.0, time - sent.time)
            self.route.echoes[name].setdefault(
                ttl, Echo(router, seconds, found.shows_options, found.changes)
            )


async def route(session: Session, attempt: Attempt) -> Route:
    """The route to the server; looked for once, with nobody else in the lane."""
    async with session.tracing:
        if session.known_route is None:
            async with session.lane.exclusive():
                tracer = Tracer(session, attempt)
                session.known_route = await tracer.trace(cookie=session.facts.cookie)
        return session.known_route


async def follow(session: Session, attempt: Attempt, name: str, syn: Syn) -> Route:
    """The route, with what becomes of this stimulus on it."""
    known = await route(session, attempt)
    async with session.tracing, session.lane.exclusive():
        await Tracer(session, attempt, known).follow(name, syn)
    return known


async def where_it_ends(session: Session, attempt: Attempt) -> str | None:
    """Where on the route segments get lost that follow a Fast Open; None if unknown."""
    known = await route(session, attempt)
    routers = known.routers
    opening = FastOpen(attempt.cookie)
    async with attempt.opener.alone(
        "after an open, TTL 1, 2 ...", opening, data=attempt.payload.data
    ) as flow:
        reached: set[str] = set()
        for pause in PAUSES:
            await session.clock.sleep(pause)
            for ttl, router in routers.items():
                if router not in reached:
                    await flow.resend_from(flow.offset, b"\r\n", ttl=ttl)
            await flow.wait(
                lambda: {each.sender for each in flow.icmps} >= set(routers.values()),
                session.round_trips.syn_wait(session.timeout),
            )
            reached = {each.sender for each in flow.icmps if each.is_time_exceeded}
    known.note_reached(AFTER_OPEN, reached)
    return known.vanished(AFTER_OPEN)


async def closed_port(session: Session, attempt: Attempt) -> Flow | None:
    """A SYN to a port where nobody is likely to listen, and its answer; None if none came."""
    for _ in range(session.attempts):
        port = UNUSED_PORTS[0] + secrets.randbelow(UNUSED_PORTS[1] - UNUSED_PORTS[0])
        session.watch_port(port)
        flow = attempt.opener.new_flow(f"plain SYN to port {port}", port=port)
        await flow.send_syn(session.syn_options(flow=flow))
        wait = session.round_trips.syn_wait(session.timeout)
        await flow.wait(lambda flow=flow: flow.is_answered, wait)  # type: ignore[misc]
        session.close_later(flow)
        if flow.reset is not None or flow.syn_ack is not None:
            return flow
    return None
