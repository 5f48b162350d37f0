"""The path as it is: its losses and its routers.

None of these cases blames the server. They live on what others have sent anyway, and send packets
of their own only where there is something to find out, or with --trace.
"""

from __future__ import annotations

import asyncio

from tfocheck.case import (
    DATA,
    OPEN,
    OPTION,
    Level,
    Option,
    Outcome,
    Probe,
    Turn,
    case,
)

LEAST_SYNS = 20


@case(
    "path.loss",
    section="RFC 9293 3.8.1",
    level=Level.INFO,
    title="How many SYNs and SYN-ACKs get lost",
    requirement="Networks lose packets; a verdict must not depend on it.",
    expected="answers every SYN, as long as none is lost",
    advice="Run it again at another time, or from another place. SYN-ACKs that get lost on the way "
    "back point to a full link or an overloaded firewall near here, SYNs to one near the server.",
    why="Loss makes a run slower and some verdicts inconclusive. Which way it happens tells where "
    "to look: SYN-ACKs that come a second late were lost on the way back.",
    needs=("control.syn",),
    turn=Turn.RISKY,
    once=True,
)
async def loss(probe: Probe) -> Outcome:
    """
    -> SYN (those of all other cases; at least 20)
    <- SYN-ACK at once, or a repeated one after a second, or none
    """

    missing = LEAST_SYNS - len(probe.answerable())
    for flow in await asyncio.gather(*(probe.plain_syn("plain SYN") for _ in range(missing))):
        probe.close_later(flow)
    flows = probe.answerable()
    trips = probe.round_trips
    repeated = [
        flow
        for flow in flows
        if flow.round_trip is not None and trips.may_be_repeated(flow.round_trip)
    ]
    silent = [flow for flow in flows if flow.syn_ack is None and not flow.has_ended]
    if not repeated and not silent:
        return probe.info(f"none: each of {len(flows)} SYNs was answered at once")
    back, there = len(repeated) / len(flows), len(silent) / len(flows)
    return probe.info(
        f"of {len(flows)} SYNs {len(repeated)} got only a repeated SYN-ACK ({back:.0%}: lost on the"
        f" way back), {len(silent)} no answer ({there:.0%}: lost on the way there, or back)"
    )


@case(
    "path.trace",
    section="7.1",
    level=Level.INFO,
    title="The route, hop by hop",
    requirement="What is sent arrives as it was sent.",
    expected="is reached through routers that quote our SYNs as they were sent",
    advice="Look at the box between the two hops that are named: its owner is found by its address "
    "(whois), its kind often by what it does.",
    why="It shows which box on the way changes or drops what, and which ones are innocent.",
    needs=("control.syn",),
    after=("cookie.request", "open.data-acked"),
    option=Option.TRACE,
    once=True,
)
async def trace(probe: Probe) -> Outcome:
    """
    -> SYN, TTL 1, 2, 3 ...: plain, with the option, with data, with both
    <- ICMP time exceeded, quoting the SYN as it got there
    """
    route = await probe.route()
    routers = route.routers
    if route.reached_at == 1:
        return probe.info("the server is one hop away: there is no router between")
    if not routers:
        return probe.info("no router on the way answers a SYN whose TTL runs out")
    count = f"{len(routers)} of {(route.reached_at or max(routers) + 1) - 1} hops answer"
    changes = [f"{change.what} {where}" for change, where in route.changes]
    lost = [
        f"{stimulus}s end {where}"
        for stimulus in (OPTION, DATA, OPEN)
        if stimulus in route.echoes and route.stops_short(stimulus)
        if (where := route.vanished(stimulus)) is not None
    ]
    return probe.info(f"{count}; {'; '.join(changes + lost) or 'nothing is changed on the way'}")
