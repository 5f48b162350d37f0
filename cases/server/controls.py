"""Controls: the precondition of everything else, and the path's half of the truth (RFC 9293)."""

from __future__ import annotations

import asyncio

from tfocheck.case import (
    Agreement,
    Fact,
    Flow,
    Level,
    Outcome,
    Probe,
    Role,
    Severity,
    Turn,
    Verdict,
    case,
    how_unanswered,
    tcp_options,
)

UNASSIGNED_KIND = 64
"""Unassigned in IANA's registry of TCP option kinds."""

MOST_SYNS = 9

STAGGER = 0.35
"""Seconds between the first SYNs, so that one burst of loss does not take them all."""


@case(
    "control.syn",
    role=Role.REACHABLE,
    section="RFC 9293 3.5",
    level=Level.MUST,
    severity=Severity.MAJOR,
    title="A plain SYN is answered",
    requirement="A listening server answers a SYN with a SYN-ACK.",
    expected="answers a plain SYN with a SYN-ACK",
    advice="Check that the address and port are right, that the server is running and listens "
    "there, and that no firewall on the way drops or rejects the port.",
    why="Without it nobody can connect, with or without Fast Open, and no other verdict here "
    "would mean anything.",
    needs=(),
    faults=("resets-syn",),
    learns=(Fact.SERVER_MSS,),
    once=True,
)
async def plain_syn(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0
    <- SYN-ACK, ack 1
    -> RST,ACK (half-open)
    several SYNs at once, and more until one is answered, up to 9
    """
    flows: list[Flow] = []
    first = asyncio.Event()

    async def knock() -> None:
        flow = probe.knock("plain SYN")
        flows.append(flow)
        await flow.send_syn(probe.syn_options(flow=flow))
        await flow.wait(lambda: flow.is_answered, probe.timeout)
        probe.learn_round_trip(flow)
        probe.close_later(flow)
        if flow.syn_ack is not None or how_unanswered(flow) != "no answer":
            first.set()

    knocks = [asyncio.create_task(knock()) for _ in range(probe.attempts)]
    try:
        while not all(task.done() for task in knocks):
            await asyncio.wait(knocks, timeout=STAGGER)
            if first.is_set():
                # One has come: the others are as fast, or lost.
                await asyncio.wait(knocks, timeout=0.05 + 2 * probe.round_trip)
                break
            if len(knocks) < MOST_SYNS:
                knocks.append(asyncio.create_task(knock()))
        for task in knocks:
            if task.done():
                task.result()
    finally:
        for task in knocks:
            task.cancel()
        await asyncio.gather(*knocks, return_exceptions=True)

    for flow in flows:
        syn_ack = flow.syn_ack
        if syn_ack is not None and probe.round_trips.smallest is not None:
            flow.decided = True
            probe.evidence.point_out(flow, syn_ack)
            announced = syn_ack.segment.option_list.mss
            probe.facts.learn(Fact.SERVER_MSS, announced)
            mss = f"MSS {announced}" if announced else "no MSS option"
            smallest = probe.round_trips.smallest * 1000
            return probe.passed(f"SYN-ACK after {smallest:.2f} ms, {mss}", conclusive=True)
    answers = {how_unanswered(flow) for flow in flows}
    errors = sorted(answers - {"no answer"})
    flows[0].decided = True
    if errors:
        return probe.undecided(f"a plain SYN gets {' or '.join(errors)}")
    return probe.undecided(f"no answer to any of {len(flows)} plain SYNs")


@case(
    "control.unknown-option",
    role=Role.UNKNOWN_OPTION,
    section="RFC 9293 3.1",
    level=Level.MUST,
    severity=Severity.MAJOR,
    title="An unknown TCP option is ignored",
    requirement="A TCP ignores options that it does not know (RFC 9293, MUST-6); a path that does "
    "not let them through breaks every new option, Fast Open among them.",
    expected="answers a SYN with an option of an unassigned kind as it answers a plain one",
    advice="Something drops or rejects SYNs that carry an option it does not know, so Fast Open "
    "can't work either. Look for a firewall or a load balancer that normalises TCP options.",
    why="It tells the path from the server: where an option that nobody knows does not get "
    "through, a box on the way is to blame for missing cookies, not the server's settings.",
    needs=("control.syn",),
    faults=("drops-unknown-option",),
    agree=Agreement(
        together=False,
        unanswered=f"a SYN with an option of the unassigned kind {UNASSIGNED_KIND}",
    ),
)
async def unknown_option(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, MSS, an option of the unassigned kind 64
    <- SYN-ACK, ack 1
    -> RST,ACK (half-open)
    """
    strange = tcp_options.Option(UNASSIGNED_KIND, bytes(8))
    options = tcp_options.encode((tcp_options.mss(1400), strange))
    async with probe.beside_others("unknown option", options=options):
        return probe.passed(
            f"SYN with option kind {UNASSIGNED_KIND}: answered by a SYN-ACK", conclusive=True
        )


@case(
    "control.syn-data",
    section="RFC 9293 3.5",
    level=Level.MUST,
    severity=Severity.CRITICAL,
    title="Data on a SYN without the option does no harm",
    requirement="Data on an ordinary SYN reaches the application only when the handshake has "
    "ended; without a cookie nothing may be answered before (RFC 9293 3.5, RFC 7413 4.2).",
    expected="answers the SYN, keeps its data from the application until the handshake has ended, "
    "and serves the connection as usual",
    advice="If data is answered without a cookie, anybody can make the server work, and answer, "
    "for a spoofed source address: switch off accepting without a cookie (Linux: bit 0x200 of "
    "net.ipv4.tcp_fastopen, the socket option TCP_FASTOPEN_NO_COOKIE, the route option "
    "fastopen_no_cookie).",
    why="The source address of a SYN proves nothing. A server that answers it before the "
    "handshake ends does work, and sends data, for whoever is named there: cookies were invented "
    "against just that.",
    needs=("control.syn",),
    faults=("accept-without-option", "loses-plain-data"),
    learns=(Fact.ACKNOWLEDGES_PLAIN_DATA, Fact.SILENCES),
    once=True,
)
async def data_on_plain_syn(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, n bytes (no Fast Open option)
    <- SYN-ACK, ack 1 (or more: then the data is kept, not answered)
    ...no answer before our ACK...
    -> ACK, the data that was not acknowledged
    <- the answer that plain connections get
    -> FIN,ACK
    """
    data = probe.payload.data

    async def attempt(probe: Probe) -> Outcome:
        label = "SYN with data, no option"
        async with probe.beside_others(label, data=data, rejected=True) as flow:
            acknowledged = (flow.acknowledged or 1) - 1
            if await probe.application.early_answer(flow):
                return probe.breach(
                    "data on a SYN without any cookie was answered before the handshake ended",
                    conclusive=True,
                )
            if acknowledged and await probe.application.is_mute():
                return probe.undecided(
                    f"{acknowledged} bytes on a SYN without the option were acknowledged; whether "
                    "the application got them early can't be seen, as it answers nothing"
                )
            wrong = await probe.application.serves(flow, data[acknowledged:])
            if wrong:
                return probe.breach(f"after data on a plain SYN the connection is broken: {wrong}")
            seen = f"ack {1 + acknowledged}, no early answer, then"
            if await probe.application.is_mute():
                return probe.info(f"{seen} all is acknowledged; the application answers nothing")
            return probe.passed(f"{seen} served as usual")

    outcome = await probe.agree(
        attempt, Agreement(unanswered="a SYN with data", path="path.syn-data-dropped")
    )
    if outcome.verdict is Verdict.PASS and probe.facts.acknowledges_plain_data:
        # Only an early answer tells now, and each of them may have got lost.
        return await probe.agree(attempt)
    return outcome


@case(
    "control.limits",
    section="RFC 9293 3.5",
    level=Level.INFO,
    title="How many new connections are let through",
    requirement="A firewall, or the server, may limit how many connections begin; what is dropped "
    "for that says nothing of Fast Open.",
    expected="answers every SYN of this run, however many there are",
    advice="Verdicts hold all the same: the run keeps below the limit. To make it shorter, exempt "
    "this machine from the limit, or name it by --rate.",
    why="A limit drops whatever comes at that moment, and looks like a server, or a path, that "
    "minds what was sent.",
    needs=("control.syn",),
    turn=Turn.RISKY,
    once=True,
)
async def limits(probe: Probe) -> Outcome:
    """
    -> SYN (those of all other cases)
    <- SYN-ACK
    no answers in a row: plain SYNs, many at once and then slowly
    """
    if probe.limit is not None:
        return probe.info(probe.limit)
    count = sum(flow.first_syn is not None for flow in probe.all_flows)
    return probe.info(f"none met by {count} SYNs")
