"""RFC 7413 section 4.2.2: what comes with a valid cookie is accepted."""

from __future__ import annotations

from tfocheck.case import (
    FAST_OPEN_WORKS,
    IN_TURN,
    Agreement,
    Control,
    Fact,
    FastOpen,
    Level,
    Outcome,
    Probe,
    Role,
    Severity,
    UnusableError,
    Verdict,
    case,
)


@case(
    "open.data-acked",
    role=Role.HONOURED,
    section="4.2.2",
    level=Level.PROCEDURE,
    severity=Severity.MAJOR,
    title="Data with a valid cookie is accepted",
    requirement="The SYN-ACK to a SYN with a valid cookie acknowledges the SYN and its data.",
    expected="acknowledges all data that comes with a valid cookie",
    advice="If only a part of the data is acknowledged, look for a box in front that cuts it, or "
    "update the stack. If none is, cookies are issued and not honoured: behind one address there "
    "may be several servers without a common key (Linux: net.ipv4.tcp_fastopen_key), a NAT may "
    "give each of your connections another address, a box on the way may strip data from SYNs, or "
    "the queue of pending requests (`fastopen=N`) may be full.",
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
    nothing before our ACK: how long after it the answer comes, and on
    plain connections
    """
    if await probe.application.is_mute():
        probe.end(probe.skipped("the application answers nothing that could come early"))
    data = probe.payload.data
    async with probe.alone("valid cookie with data", FastOpen(probe.cookie), data=data) as flow:
        await probe.must_be_open(flow)
        syn_ack = flow.syn_ack
        if await probe.application.early_answer(flow) and syn_ack is not None:
            probe.evidence.point_out(flow, flow.early_data[0])
            after = (flow.early_data[0].time - syn_ack.time) * 1000
            return probe.info(
                f"the answer starts {after:.1f} ms after the SYN-ACK, before our ACK:"
                " one round trip saved",
                conclusive=True,
            )
        await flow.acknowledge()
        if await probe.application.missing(flow):
            # Perhaps before our ACK: a box that drops that makes an early answer a late one.
            raise UnusableError("what the server sends gets lost on the way: see path.early-data")
        wrong = await probe.application.serves(flow)
        acked_at, answered_at = flow.handshake_done_time, flow.first_data_time
        if wrong or acked_at is None or answered_at is None or syn_ack is None:
            return probe.undecided(f"data accepted early, but then {wrong}")
        if not await probe.application.is_prompt(acked_at - syn_ack.time):
            raise UnusableError(
                "the application takes about as long as we waited with our ACK, or longer"
            )
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
    control=(Control.VALID_COOKIE, Control.ISSUING, Control.SAME_KEY, Control.SERVED),
)
async def no_data(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid)
    <- SYN-ACK, ack 1
    -> ACK, n bytes
    <- the answer that plain connections get
    -> FIN,ACK
    counts if the valid cookie with data is accepted right behind it
    """
    data = probe.payload.data
    async with probe.alone("valid cookie, no data", FastOpen(probe.cookie)) as flow:
        if flow.acknowledged != 1:
            return probe.breach(f"ack {flow.acknowledged} to a SYN without data")
        wrong = await probe.application.serves(flow, data)
        if wrong:
            return probe.breach(f"a cookie without data, then the connection is broken: {wrong}")
        if await probe.application.is_mute():
            return probe.info(
                f"ack {flow.acknowledged}, then an ordinary connection whose data is acknowledged;"
                " whether the application gets it, its silence does not tell",
                conclusive=True,
            )
        return probe.passed(
            f"ack {flow.acknowledged}, then an ordinary connection that works", conclusive=True
        )


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
    control=(Control.SERVED,),
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
                return probe.passed("served", conclusive=probe.ack_tells)

        return await probe.agree(attempt, IN_TURN)

    def can_be_made(size: int) -> bool:
        return size <= largest and (size <= len(payload.data) or payload.of_size(size) is not None)

    taken: list[int] = []
    sizes = [size for size in (payload.least, 536, largest) if can_be_made(size)]
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
    seen = f"{', '.join(map(str, taken))} bytes on the SYN: served{note}"
    if await probe.application.is_mute() or not await probe.application.shows_its_input():
        return probe.info(f"{seen}; whether with all of them, the application does not show")
    return probe.passed(seen)


@case(
    "open.reply-option",
    section="4.2.2",
    level=Level.PROCEDURE,
    severity=Severity.MINOR,
    title="A cookie that comes with an acceptance works",
    requirement="The SYN-ACK of an accepted Fast Open may carry the option (step 5); the client "
    "keeps that cookie.",
    expected="sends with an acceptance no option, or a legal cookie that works",
    advice="Clients replace a good cookie by a bad one: give all servers behind this address the "
    "same keys in the same order (Linux: net.ipv4.tcp_fastopen_key=NEW,OLD); otherwise update the "
    "stack.",
    why="It is how a server renews cookies while its key changes, as Linux does with a backup "
    "key. A bad one takes Fast Open away from a client that had it.",
    needs=FAST_OPEN_WORKS,
    faults=("bad-refresh",),
    control=(Control.SAME_KEY,),
)
async def reply_option(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n, no option, or a cookie
    -> ACK, FIN,ACK
    if a cookie came:
    -> SYN, seq 0, that cookie, n bytes
    <- SYN-ACK, ack 1+n
    -> ACK, FIN,ACK
    """
    data = probe.payload.data
    async with probe.alone("valid cookie", FastOpen(probe.cookie), data=data) as flow:
        await probe.must_be_open(flow)
        offered = flow.offered
    if offered is None:
        # One alone may be the SYN-ACK that answers a doubled SYN: that one is bare.
        return probe.passed("no option with an acceptance")
    if not offered.has_legal_cookie:
        return probe.breach(
            f"an acceptance comes with a cookie of {len(offered.cookie)} bytes", conclusive=True
        )
    async with probe.alone("the cookie of the reply", offered, data=data) as again:
        if await probe.is_open(again):
            return probe.passed("an acceptance comes with a cookie, which works", conclusive=True)
    return probe.breach("the cookie that comes with an acceptance is not honoured")
