"""RFC 7413 section 4.2.2: what the server does with a cookie, and how it falls back."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tfocheck.case import (
    FAST_OPEN_WORKS,
    IN_TURN,
    REPEAT_WAIT,
    Agreement,
    Captured,
    Control,
    Fact,
    FastOpen,
    Flow,
    Level,
    Outcome,
    Probe,
    Role,
    Severity,
    Turn,
    UnusableError,
    Verdict,
    case,
    judge_repeated_syn_ack,
)

FLOWS_TO_WATCH = 2

COPIES = 4
"""So often a SYN is sent again until something comes of it: copies and answers may get lost."""

TIMESTAMP_TICK = 0.002
"""Seconds after which what a server sends has another timestamp: most count milliseconds."""


@case(
    "forged.fallback",
    section="4.2.2",
    level=Level.PROCEDURE,
    severity=Severity.MAJOR,
    title="After a rejected cookie the connection works, and its data counts once",
    requirement="A SYN whose cookie is not valid falls back to an ordinary handshake; the client "
    "sends its data again, and the application gets it once.",
    expected="falls back to an ordinary handshake and serves the data that is sent again, once",
    advice="Clients whose cookie has gone stale lose their connection, or have their request done "
    "twice: the stack must drop the data of a rejected SYN and go on as with any other SYN. "
    "Update it, or the load balancer in front; until then keep the key as it is (Linux: "
    "net.ipv4.tcp_fastopen_key).",
    why="Stale cookies are no attack but everyday life: each change of the key, or of a client's "
    "address, makes them. Those clients must not pay with lost connections or doubled orders.",
    needs=FAST_OPEN_WORKS,
    faults=("delivers-rejected-data", "breaks-after-reject"),
    control=(Control.VALID_COOKIE,),
)
async def fallback(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (forged), the first bytes of a request
    <- SYN-ACK, ack 1 (the SYN alone)
    -> ACK, seq 1, the whole request
    <- the answer that plain connections get
    -> FIN,ACK
    """
    payload = probe.payload
    size = len(probe.cookie)

    # Only an application that notices a damaged request tells whether it got the data once.
    once = await probe.application.is_mute() or not await probe.application.shows_its_input()
    served = "served" if once else "served once"
    forged = FastOpen(secrets.token_bytes(size))
    # The head of a request: were it delivered besides the whole, the answer would be another.
    head = payload.data[: payload.split]
    async with probe.beside_others("forged cookie", forged, data=head, rejected=True) as flow:
        if flow.acknowledged != 1:
            return probe.skipped("the forged cookie was accepted: see forged.random")
        wrong = await probe.application.serves(flow, payload.data)
        if wrong:
            return probe.breach(f"after a rejected cookie and the whole request: {wrong}")
        return probe.passed(f"ack 1, then handshake and the data again: {served}")


@case(
    "cookie.synack-retransmit",
    section="4.2.1",
    level=Level.SHOULD,
    severity=Severity.MINOR,
    title="A repeated SYN-ACK to a request has no Fast Open option",
    requirement="When its timer fires, the server repeats the SYN-ACK without the Fast Open "
    "option, in case a box on the way drops packets that carry it.",
    expected="repeats its SYN-ACK without the Fast Open option",
    advice="The server repeats its SYN-ACK as it was: update the stack. Linux leaves the option "
    "out, so with a Linux server look for a SYN proxy or load balancer in front.",
    why="Some boxes drop what carries an option that they do not know. With a bare second SYN-ACK "
    "a client behind one loses a second, else it can't connect at all.",
    faults=("repeats-option",),
    agree=Agreement(need=FLOWS_TO_WATCH),
)
async def request_synack_retransmit(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie request
    <- SYN-ACK, ack 1, cookie
    ...we are silent until the server's timer fires...
    <- SYN-ACK, ack 1, no Fast Open option
    -> RST,ACK (half-open)
    """
    async with probe.beside_others("cookie request, then silence", FastOpen()) as flow:
        if len(probe.evidence.of_case) >= FLOWS_TO_WATCH:
            probe.observing()
        await flow.wait(lambda: flow.repeated_syn_ack is not None, REPEAT_WAIT)
        return judge_repeated_syn_ack(probe, flow)


@case(
    "open.data-acked",
    role=Role.HONOURED,
    section="4.2.2",
    level=Level.PROCEDURE,
    severity=Severity.MAJOR,
    title="Data with a valid cookie is accepted",
    requirement="The SYN-ACK to a SYN with a valid cookie acknowledges the SYN and its data.",
    expected="acknowledges all data that comes with a valid cookie",
    advice="The server issues cookies that it does not honour. Behind one address there may be "
    "several servers without a common key (Linux: net.ipv4.tcp_fastopen_key), a NAT may give each "
    "of your connections another address, a box on the way may strip data from SYNs, or the queue "
    "of pending requests (`fastopen=N`) may be full.",
    why="This is Fast Open itself. A server that hands out cookies and turns them down has every "
    "client send its data twice, and saves it nothing.",
    needs=("cookie.request",),
    faults=("never-accepts", "partial-ack"),
    agree=Agreement(
        together=False,
        unanswered="a SYN with a valid cookie and data",
        path="path.syn-data-dropped",
        other_key="cookies are turned down every time, each time with another one",
    ),
    control=(Control.ISSUING,),
    learns=(Fact.SILENCES,),
)
async def data_acked(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n
    -> ACK, FIN,ACK
    not accepted: cookie requests, to see whether the queue is full
    """
    return await probe.accepts_valid_cookie("valid cookie with data")


@case(
    "open.early-answer",
    role=Role.EARLY,
    section="4.2.2",
    level=Level.INFO,
    title="The answer starts before the handshake ends",
    requirement="The server hands the data of the SYN to the application at once, and may answer "
    "before the client's ACK: that is the round trip that Fast Open saves (section 4.2.2, step 4).",
    expected="starts its answer before our ACK",
    advice="Data is accepted, but nothing is gained: the stack or the application waits for the "
    "handshake to end. Look for a deferred accept (nginx `deferred`, haproxy `defer-accept`), a "
    "proxy that connects to its backend only then, or an application that is slow or holds back "
    "on purpose.",
    why="Data that lies in a buffer until the ACK comes saves no time: the client waits as long "
    "as ever, and the server bears the risks of Fast Open all the same.",
    needs=FAST_OPEN_WORKS,
    faults=("holds-data",),
    learns=(Fact.ANSWERS_EARLY,),
    agree=Agreement(together=False, more_where_lossy=2),
)
async def early_answer(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n
    <- the first bytes of the answer
    -> ACK, FIN,ACK
    nothing before our ACK: how long after it the answer comes
    """
    if await probe.application.is_mute():
        probe.end(probe.skipped("the application answers nothing that could come early"))
    data = probe.payload.data
    async with probe.alone("valid cookie with data", FastOpen(probe.cookie), data=data) as flow:
        probe.cookies.must_be_open(flow)
        syn_ack = flow.syn_ack
        if await probe.application.early_answer(flow) and syn_ack is not None:
            probe.evidence.point_out(flow, flow.early_data[0])
            after = (flow.early_data[0].time - syn_ack.time) * 1000
            return probe.info(
                f"the answer starts {after:.1f} ms after the SYN-ACK, before our ACK:"
                " one round trip saved",
                conclusive=True,
            )
        wrong = await probe.application.serves(flow)
        acked_at, answered_at = flow.handshake_done_time, flow.first_data_time
        if wrong or acked_at is None or answered_at is None:
            return probe.undecided(f"data accepted early, but then {wrong}")
        # An early answer that gets lost comes again only after our ACK, too: where packets get
        # lost, more attempts must agree.
        return probe.warning(
            "accepted, not delivered early: the answer comes only after our ACK"
            f" ({(answered_at - acked_at) * 1000:.0f} ms after it)"
        )


@case(
    "open.no-data",
    section="4.2.2",
    level=Level.PROCEDURE,
    severity=Severity.MAJOR,
    title="A valid cookie without data opens an ordinary connection",
    requirement="A SYN with a valid cookie and no data is answered, and the connection works.",
    expected="answers a valid cookie without data with a SYN-ACK, and the connection works",
    advice="Clients with nothing to send yet can't connect: the stack, or a firewall with a rule "
    "for Fast Open, insists on data. Update it, or drop that rule; Linux serves such SYNs.",
    why="A client may have a cookie and nothing to send yet: it waits for the server to speak "
    "first, or its application has not written. It should connect no worse than without the "
    "cookie.",
    needs=FAST_OPEN_WORKS,
    faults=("needs-data", "stalls-without-data"),
    agree=Agreement(together=False, unanswered="a SYN with a valid cookie and no data"),
)
async def no_data(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid)
    <- SYN-ACK, ack 1
    -> ACK, n bytes
    <- the answer that plain connections get
    -> FIN,ACK
    """
    data = probe.payload.data
    async with probe.alone("valid cookie, no data", FastOpen(probe.cookie)) as flow:
        if flow.acknowledged != 1:
            return probe.breach(f"ack {flow.acknowledged} to a SYN without data")
        wrong = await probe.application.serves(flow, data)
        if wrong:
            return probe.breach(f"a cookie without data, then the connection is broken: {wrong}")
        return probe.passed("ack 1, then an ordinary connection that works", conclusive=True)


@case(
    "open.stream-integrity",
    section="RFC 9293 3.4",
    level=Level.MUST,
    severity=Severity.CRITICAL,
    title="Data on the SYN and data after it make one stream",
    requirement="The application gets the SYN's data and what follows in order, each byte once.",
    expected="gives the application one request, whose first part came on the SYN",
    advice="Requests get damaged: the stack, or a proxy that hands the connection on, loses or "
    "doubles the data that came on the SYN. Switch Fast Open off until that is mended (nginx: no "
    "`fastopen=`, haproxy: no `tfo`).",
    why="A byte that is lost or doubled at the seam damages requests, now and then and silently. "
    "The one thing that TCP promises would not hold, and no application checks it.",
    needs=FAST_OPEN_WORKS,
    faults=("loses-syn-data", "doubles-syn-data"),
    agree=IN_TURN,
)
async def stream_integrity(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), the first m of n bytes
    <- SYN-ACK, ack 1+m
    -> ACK, seq 1+m, the other n-m bytes
    <- the answer that plain connections get
    -> FIN,ACK
    """
    if await probe.application.is_mute():
        probe.end(probe.skipped("the application answers nothing that would show its input"))
    if not await probe.application.shows_its_input():
        probe.end(probe.skipped("the application answers a damaged request just like a whole one"))
    payload = probe.payload
    head, rest = payload.data[: payload.split], payload.data[payload.split :]
    label = "half a request on the SYN"
    async with probe.alone(label, FastOpen(probe.cookie), data=head) as flow:
        probe.cookies.must_be_open(flow)
        wrong = await probe.application.serves(flow, rest)
        if wrong:
            return probe.breach(
                f"{len(head)} bytes on the SYN, {len(rest)} after the handshake: {wrong}"
            )
        return probe.passed(
            f"{len(head)} bytes on the SYN, {len(rest)} after it: one correct answer",
            conclusive=True,
        )


def _has_another_isn(flow: Flow, segments: Sequence[Captured]) -> bool:
    """Whether one of the segments is the SYN-ACK of another connection than the first one's."""
    return any(each.segment.is_syn_ack and each.segment.seq != flow.server_isn for each in segments)


@dataclass(frozen=True)
class _Answers:
    """What came after copies of the SYN; ``sure`` if some of it can only be an answer to one."""

    segments: list[Captured]
    sure: bool

    @property
    def how(self) -> str:
        return "acknowledged again" if self.segments else "not answered"


async def _answers_to_copies(
    probe: Probe, flow: Flow, repeat: Callable[[], Awaitable[None]]
) -> _Answers:
    """What comes of sending the SYN again; several times, for one copy may well get lost."""
    await probe.clock.sleep(TIMESTAMP_TICK)
    known = len(flow.received)
    wait = probe.round_trips.syn_wait(probe.timeout)
    sent = 0

    def is_sure() -> bool:
        return any(map(flow.is_answer_to_copy, flow.control_segments(known)))

    def has_come() -> bool:
        return is_sure() or len(flow.control_segments(known)) >= sent

    while sent < COPIES and not is_sure():
        await repeat()
        sent += 1
        await flow.wait(has_come, wait)
    return _Answers(flow.control_segments(known), is_sure())


@case(
    "open.duplicate-syn",
    section="4.2.2",
    level=Level.PROCEDURE,
    severity=Severity.CRITICAL,
    title="A SYN that comes twice opens once",
    requirement="A repeated or duplicated SYN belongs to the pending connection: its data must not "
    "reach the application a second time.",
    expected="answers the second copy with the same ISN and ack, or not at all; never with a reset "
    "or another connection",
    advice="The stack makes another connection of a repeated SYN, or breaks the first one: update "
    "it, and switch Fast Open off until then. A load balancer must send both copies to the same "
    "server.",
    why="Networks double packets, and clients repeat them. With a second connection for the "
    "second copy, orders are placed twice.",
    needs=FAST_OPEN_WORKS,
    faults=("second-connection", "delivers-copy", "resets-copy"),
    agree=IN_TURN,
)
async def duplicate_syn(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes
    <- SYN-ACK, seq 0, ack 1+n; the answer may start
    -> SYN, the very same again
    <- SYN-ACK, seq 0, or ACK, or nothing
    -> ACK
    <- the answer that plain connections get
    -> FIN,ACK
    no good answer: the SYN once, from another port, for comparison
    """
    data = probe.payload.data
    label = "the same SYN twice"
    async with probe.alone(label, FastOpen(probe.cookie), data=data) as flow:
        probe.cookies.must_be_open(flow)
        await probe.application.early_answer(flow)
        if flow.has_ended:
            # Then the copy rightly opens another connection.
            return probe.skipped("the application closes before a second copy can come")
        # A SYN-ACK again, or a plain ACK for a segment below the window
        # (RFC 9293 section 3.10.7.4).
        came_back = await _answers_to_copies(probe, flow, flow.repeat_syn)
        for captured in came_back.segments:
            segment = captured.segment
            if segment.is_reset:
                return probe.breach("the second copy of the SYN was answered with a reset")
            if segment.is_syn_ack and segment.seq != flow.server_isn:
                return probe.breach(
                    "the second copy of the SYN opened a second connection (another ISN)",
                    conclusive=True,
                )
        mute = await probe.application.is_mute()
        wrong = None if mute else await probe.application.serves(flow)
        if not wrong:
            count, is_all = (1, True) if mute else await probe.application.answers(flow)
            if count > 1:
                return probe.breach(
                    "a SYN that came twice was answered twice: its data was delivered twice",
                    conclusive=True,
                )
            return probe.passed(
                f"{came_back.how}, one connection that works",
                conclusive=came_back.sure and is_all,
            )
    async with probe.alone("control: the SYN once", FastOpen(probe.cookie), data=data) as flow:
        probe.cookies.must_be_open(flow)
        if await probe.application.serves(flow):
            return probe.skipped("a SYN that comes once is not served either")
    return probe.breach(f"after a doubled SYN the connection is broken: {wrong}")


@case(
    "open.synack-retransmit",
    section="4.2.2",
    level=Level.SHOULD,
    severity=Severity.MINOR,
    title="A repeated SYN-ACK to an accepted Fast Open is a bare one",
    requirement="When its timer fires, the server repeats the SYN-ACK with neither data nor the "
    "Fast Open option.",
    expected="repeats its SYN-ACK without data and without the Fast Open option",
    advice="The server repeats its SYN-ACK as it was: update the stack. Linux repeats a bare one, "
    "so with a Linux server look for a SYN proxy or load balancer in front.",
    why="Some boxes drop a SYN-ACK that carries more than usual. A bare one gets through; if all "
    "are alike, the connection never comes up.",
    needs=FAST_OPEN_WORKS,
    faults=("repeats-data",),
    turn=Turn.LONG,
    agree=IN_TURN,
)
async def synack_retransmit(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n; the answer may start
    ...we are silent until the server's timer fires...
    <- SYN-ACK, no data, no Fast Open option
    -> ACK, FIN,ACK
    """
    silent = await probe.silent_open()
    assert silent.flow is not None
    return judge_repeated_syn_ack(probe, silent.flow)


@case(
    "forged.fresh-cookie",
    section="4.2.2",
    level=Level.INFO,
    title="A rejected cookie may be answered with a fresh one",
    requirement="The SYN-ACK of a fallback may carry a fresh cookie (step 5).",
    expected="sends, if anything, a cookie that then works",
    advice="The cookie that comes with a rejection is illegal or not honoured: servers behind "
    "this address have different keys (Linux: set the same net.ipv4.tcp_fastopen_key on all), or "
    "the stack needs an update.",
    why="With a fresh cookie a client whose old one is stale is fast again with its next "
    "connection. With a bad one it is turned down again and again.",
    needs=FAST_OPEN_WORKS,
    control=(Control.SAME_KEY,),
    agree=IN_TURN,
)
async def fresh_cookie(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (forged), n bytes
    <- SYN-ACK, ack 1, no option, or a cookie
    -> RST,ACK (half-open)
    if a cookie came:
    -> SYN, seq 0, that cookie, n bytes
    <- SYN-ACK, ack 1+n
    -> ACK, FIN,ACK
    """
    data = probe.payload.data
    forged = FastOpen(secrets.token_bytes(len(probe.cookie)))
    async with probe.beside_others("forged cookie", forged, data=data, rejected=True) as flow:
        offered = flow.offered
    if offered is None:
        return probe.info("no fresh cookie with a rejection")
    if not offered.has_legal_cookie:
        return probe.breach(
            f"a rejection comes with a cookie of {len(offered.cookie)} bytes", conclusive=True
        )
    async with probe.alone("fresh cookie", offered, data=data) as again:
        if again.acknowledged != 1:
            return probe.info("a rejection comes with a fresh cookie, which works", conclusive=True)
    return probe.breach("the fresh cookie of a rejection is not honoured")


@case(
    "open.sizes",
    section="4.2.2",
    level=Level.PROCEDURE,
    severity=Severity.MAJOR,
    title="Data of any size that fits the SYN is taken",
    requirement="The SYN may carry from one byte up to the server's MSS less the options.",
    expected="takes 1 byte, 536 bytes, and what fills its MSS; what it does not acknowledge, it "
    "takes after the handshake",
    advice="The stack acknowledges data of some sizes and loses it: update it. If only the "
    "largest fails, look for a tunnel on the way whose MTU is below what the server's MSS "
    "promises.",
    why="One byte and a full segment are where lengths are miscounted. A full one is everyday: a "
    "TLS ClientHello easily fills a SYN.",
    needs=FAST_OPEN_WORKS,
    faults=("truncates-silently",),
    reads=(Fact.SERVER_MSS,),
    once=True,
)
async def sizes(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), k bytes: 1, 536, a full MSS
    <- SYN-ACK, ack 1+j (j from 1 to k)
    -> ACK, seq 1+j, the rest of the request
    <- the answer that plain connections get
    -> FIN,ACK
    a full MSS gets no answer: as much as a path MTU of 1280 allows
    """
    payload = probe.payload
    option_bytes = probe.option_bytes(FastOpen(probe.cookie))
    largest = min(probe.facts.server_mss or 536, probe.own_mss) - option_bytes
    smaller = min(largest, 1220 - option_bytes)

    async def served(size: int) -> Outcome:
        request = payload.of_size(size) or payload.data
        head, rest = request[:size], request[size:]

        async def attempt(probe: Probe) -> Outcome:
            cookie = FastOpen(probe.cookie)
            async with probe.alone(f"{size} bytes on the SYN", cookie, data=head) as flow:
                count = (flow.acknowledged or 1) - 1
                if count == 0:
                    raise UnusableError("the valid cookie was not honoured this time")
                wrong = await probe.application.serves(flow, head[count:] + rest)
                if wrong:
                    return probe.breach(f"{size} bytes on the SYN, {count} acknowledged: {wrong}")
                return probe.passed("served", conclusive=True)

        return await probe.agree(attempt, IN_TURN)

    def can_be_made(size: int) -> bool:
        return size <= largest and (size <= len(payload.data) or payload.of_size(size) is not None)

    taken: list[int] = []
    sizes = [size for size in (1, 536, largest) if can_be_made(size)]
    note = ""
    outcomes = await probe.side_by_side([served(size) for size in sizes])
    for size, outcome in zip(sizes, outcomes, strict=True):
        if outcome.verdict is Verdict.INCONCLUSIVE and size == largest > smaller:
            # The path's MTU may be smaller than Ethernet's: that is not the server's doing.
            note = f"; {size} bytes get no answer, perhaps for the path's MTU"
            size = smaller
            outcome = await served(size)
        if outcome.verdict is not Verdict.PASS:
            return outcome
        taken.append(size)
    return probe.passed(f"{', '.join(map(str, taken))} bytes on the SYN: served{note}")


@case(
    "open.syn-without-option",
    section="RFC 9293 3.10.7.4",
    level=Level.PROCEDURE,
    severity=Severity.MAJOR,
    title="A client that repeats its SYN bare is not lost",
    requirement="When a client's timer fires, it repeats the SYN without data and option "
    "(RFC 7413 4.2.2, client); the pending connection goes on.",
    expected="answers a bare SYN of the same ISN with a SYN-ACK or an ACK, never with a reset, and "
    "goes on serving",
    advice="The stack, or a stateful firewall that does not know the second SYN, gives the "
    "connection up: it must take a bare SYN with the same ISN for the pending connection. Update "
    "it, or relax that rule.",
    why="That is what comes from a client whose SYN-ACK was lost. A reset turns one lost packet "
    "into a failed connection: with Fast Open the site is less reliable than without.",
    needs=FAST_OPEN_WORKS,
    faults=("resets-bare-syn",),
    agree=IN_TURN,
)
async def syn_without_option(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n; the answer may start
    -> SYN, seq 0, no data, no Fast Open option
    <- SYN-ACK, or ACK, or nothing; no RST
    -> ACK
    <- the answer that plain connections get
    -> FIN,ACK
    """
    data = probe.payload.data
    label = "then the SYN again, bare"
    async with probe.alone(label, FastOpen(probe.cookie), data=data) as flow:
        probe.cookies.must_be_open(flow)
        await probe.application.early_answer(flow)
        if flow.has_ended:
            # Then a reset is the right answer.
            return probe.skipped("the application closes before the SYN can come again")
        bare = probe.syn_options(flow=flow)
        came_back = await _answers_to_copies(probe, flow, lambda: flow.repeat_syn(bare, b""))
        if flow.reset is not None:
            return probe.breach("the bare SYN of the same ISN was answered with a reset")
        if _has_another_isn(flow, came_back.segments):
            return probe.breach(
                "the bare SYN of the same ISN opened another connection: the first was given up"
            )
        wrong = None if await probe.application.is_mute() else await probe.application.serves(flow)
        if wrong:
            return probe.breach(f"after a bare SYN of the same ISN: {wrong}")
        # The network may have doubled the first SYN, and what came be the answer to that one:
        # the bare SYN's is on its way then, or the bare SYN got lost.
        if not flow.has_ended:
            await probe.application.replies(flow)
        if flow.reset is not None or _has_another_isn(flow, flow.syn_acks):
            raise UnusableError("the connection was reset after it had been served")
        return probe.passed(
            f"{came_back.how}, and the connection goes on",
            conclusive=came_back.sure and not probe.has_lost,
        )
