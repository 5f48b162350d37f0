"""What a box on the way changes: options, cookies, numbers.

None of these cases blames the server. They live on what others have sent anyway, and send packets
of their own only where there is something to find out, or with --trace.
"""

from __future__ import annotations

from tfocheck.case import (
    OPEN,
    OPTION,
    Change,
    Flow,
    Level,
    Outcome,
    Probe,
    Severity,
    Verdict,
    advice,
    case,
    comparison,
)


@case(
    "path.option-stripped",
    section="7.1",
    level=Level.PATH,
    severity=Severity.MAJOR,
    title="The option is not taken out on the way",
    requirement="The option arrives as it was sent, in SYN and SYN-ACK.",
    expected="gets the option that we send, and we get its own",
    advice=advice.NOT_THE_SERVER
    + "A box overwrites or removes TCP option 34 (with nftables: `reset tcp "
    'option fastopen`; F5, Cisco and others: "clear unknown options"). Connections work, without '
    "Fast Open.",
    why="No cookie ever comes, and it looks just as if Fast Open were off at the server: its "
    "operator would look for the mistake in the wrong place.",
    needs=("control.syn",),
    after=("cookie.request",),
    once=True,
)
async def option_stripped(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie request (those of cookie.request)
    <- SYN-ACK, cookie
    no cookie:
    -> SYN, seq 0, cookie request, TTL 1, 2, 3 ...
    <- ICMP time exceeded, quoting the SYN as it got there
    """
    asked = probe.flows_of("cookie.request")
    if any(flow.offered_cookie is not None for flow in asked):
        probe.observing()
        probe.borrow("cookie.request", lambda flow: flow.offered is not None)
        return probe.passed("a cookie comes: the option gets there, and back", conclusive=True)
    answers = [flow for flow in asked if flow.syn_ack is not None]
    if not answers:
        return probe.skipped("no SYN with the option is answered")
    route = await probe.route()
    change = route.changed("fast-open", OPTION)
    if change is not None:
        return _changed(probe, change)
    holes = _hole(probe, answers)
    if holes:
        answers[0].decided = True
        return probe.breach(
            f"the SYN-ACK has {holes} bytes of NOPs where a plain one has none: the server answered"
            " with an option, and a box on the way back took it out",
            conclusive=True,
        )
    if route.last_router is not None:
        return probe.info(
            f"the option is intact at {route.last_router}, the last router that says so: it is the"
            " server that does not answer it, or something right before it"
        )
    return probe.info("no router quotes the option, so whether it arrives can't be told")


def _hole(probe: Probe, answers: list[Flow]) -> int:
    plain = [flow.syn_ack for flow in probe.flows_of("control.syn") if flow.syn_ack is not None]
    if not plain:
        return 0
    asked = [flow.syn_ack for flow in answers if flow.syn_ack is not None]
    holes = [comparison.holes(plain[0], syn_ack) for syn_ack in asked]
    # An option with the shortest cookie has 6 bytes.
    return min(holes) if holes and min(holes) >= 6 else 0


@case(
    "path.cookie-changed",
    section="7.1",
    level=Level.PATH,
    severity=Severity.MAJOR,
    title="The cookie arrives as it was sent",
    requirement="Nothing on the way changes the bytes of a cookie.",
    expected="gets the cookie that we send",
    advice=advice.NOT_THE_SERVER
    + "A box on the way rewrites option 34: find out why, it can only be a "
    "mistake.",
    why="The server turns down a cookie that it never issued, and looks like one that does not "
    "honour its own.",
    needs=("cookie.request",),
    after=("open.data-acked",),
    once=True,
)
async def cookie_changed(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes (those of open.data-acked)
    <- SYN-ACK, ack 1+n: so it arrived
    <- SYN-ACK, ack 1: then the SYN again, TTL 1, 2, 3 ...
    <- ICMP time exceeded, quoting the SYN as it got there
    """
    if probe.verdict_of("open.data-acked") is not Verdict.FAIL:
        probe.observing()
        if probe.borrow("open.data-acked", lambda flow: (flow.acknowledged or 0) > 1):
            return probe.passed("a cookie is honoured: it arrived as it was sent", conclusive=True)
        return probe.skipped("no cookie was sent that could have been honoured")
    route = await probe.route()
    change = route.changed("fast-open", OPEN)
    if change is None:
        return probe.info("no router quotes another cookie than was sent")
    return _changed(probe, change)


@case(
    "path.sequence-rewritten",
    section="7.1",
    level=Level.PATH,
    severity=Severity.MAJOR,
    title="Sequence and acknowledgement numbers line up",
    requirement="Who shifts the numbers of a connection shifts all of them, on the SYN with data "
    "as well.",
    expected="sends a SYN-ACK whose acknowledgement fits the SYN and what follows",
    advice=advice.NOT_THE_SERVER + "A firewall that randomises sequence numbers (Cisco ASA: "
    "`random-sequence-number`), or a box that rebuilds SYN-ACKs, does not reckon with data on the "
    "SYN: switch that off, or update it.",
    why="Client and server then count from different places: the data is taken, yet the client "
    "sends it again or resets the connection.",
    needs=("control.syn",),
    after=("control.syn-data", "open.data-acked"),
    once=True,
)
async def sequence_rewritten(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes (those of other cases)
    <- SYN-ACK, ack 1 or 1+n
    <- data, with the same acknowledgement
    with --trace: SYNs with TTL 1, 2, 3 ..., and what routers quote
    """
    flows = probe.flows_of("control.syn", "control.syn-data", "open.data-acked")
    contradicting = [
        (flow, found)
        for flow in flows
        if (found := comparison.contradicting_acks(flow.packets)) is not None
    ]
    misfits = [flow for flow in flows if flow.misfits and flow.syn_ack is None]
    if contradicting:
        flow, (first, then) = contradicting[0]
        probe.evidence.adopt(flow)
        shift = (then - first) % 2**32
        return probe.breach(
            f"the SYN-ACK acknowledges {shift} bytes less than what comes right behind it, though"
            " we sent nothing between: one of the two was changed on the way back",
            conclusive=True,
        )
    if len(misfits) >= 3:
        for flow in misfits[:3]:
            probe.evidence.adopt(flow)
        return probe.breach(
            f"{len(misfits)} SYN-ACKs acknowledge numbers that were never sent", conclusive=True
        )
    route = probe.known_route
    if probe.plan.trace:
        route = await probe.route()
    shifted = route.changed("sequence") if route is not None else None
    if shifted is not None:
        _, where = shifted
        return probe.info(f"sequence numbers are shifted {where}, and back: they line up")
    strays = [flow for flow in probe.all_flows if flow.stray_resets]
    if strays:
        probe.evidence.adopt(strays[0])
        return probe.info(
            f"resets came with numbers that are not the connection's (on {len(strays)} so far):"
            " somebody sends them who does not see it; they are ignored"
        )
    probe.borrow("control.syn", lambda flow: flow.syn_ack is not None)
    return probe.passed("every SYN-ACK acknowledges what was sent")


def _changed(probe: Probe, change: tuple[Change, str]) -> Outcome:
    """What a quote proves: the change, and between which hops."""
    what, where = change
    return probe.breach(f"{what.what} {where}", conclusive=True)
