"""RFC 7413 section 4.2.1: requesting a cookie."""

from __future__ import annotations

from tfocheck.case import (
    REPEAT_WAIT,
    Agreement,
    Fact,
    FastOpen,
    Flow,
    Level,
    Outcome,
    Probe,
    Role,
    Severity,
    Verdict,
    case,
    judge_repeated_syn_ack,
)

_SWITCH_ON = (
    "Switch Fast Open on for this listener: nginx `listen ... fastopen=256`, haproxy "
    "`bind ... tfo`, or TCP_FASTOPEN on the socket; on Linux also bit 0x2 of "
    "net.ipv4.tcp_fastopen (`sysctl -w net.ipv4.tcp_fastopen=3`), and not bit 0x200, with which "
    "newer kernels issue no cookies. If it is on already, a load balancer or firewall in front "
    "answers instead, or strips the option."
)

FLOWS_TO_WATCH = 2


@case(
    "cookie.request",
    role=Role.OFFERED,
    section="4.2.1",
    level=Level.PROCEDURE,
    severity=Severity.MAJOR,
    title="A cookie request is answered with a cookie",
    requirement="A SYN with an empty Fast Open option asks for a cookie; a server with Fast Open "
    "on sends one in its SYN-ACK.",
    expected="answers an empty Fast Open option with a cookie in the SYN-ACK",
    advice=_SWITCH_ON,
    why="Without a cookie no client ever uses Fast Open, and each connection costs a round trip "
    "that it need not.",
    needs=("control.syn",),
    faults=("never-issues",),
    learns=(Fact.COOKIE, Fact.SILENCES),
    agree=Agreement(
        together=False,
        unanswered="a SYN with the Fast Open option (cookie request)",
        path="path.option-dropped",
    ),
)
async def request(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie request (empty option)
    <- SYN-ACK, ack 1, cookie
    -> RST,ACK (half-open)
    """
    async with probe.beside_others("cookie request", FastOpen(), rejected=True) as flow:
        option = flow.offered
        if option is None:
            return probe.skipped("no cookie: the SYN-ACK has no Fast Open option")
        if option.is_request:
            return probe.skipped("no cookie: the SYN-ACK's Fast Open option is empty")
        if option.has_legal_cookie and not option.experimental:
            probe.facts.learn(Fact.COOKIE, option.cookie)
        return probe.passed(f"a cookie of {len(option.cookie)} bytes", conclusive=True)


@case(
    "cookie.not-volunteered",
    section="4.2.1",
    level=Level.INFO,
    title="Nobody gets a cookie who did not ask",
    requirement="The RFC has a SYN-ACK carry the option in reply to a SYN that does; of others it "
    "says nothing.",
    expected="sends no Fast Open option to a SYN without one, with or without data",
    advice="Old clients and middleboxes may trip over an option they did not ask for. Linux "
    "before 4.0 sent it in reply to SYNs with data: update the kernel, or the load balancer in "
    "front.",
    why="Who did not ask has no use for a cookie, and a box on the way that has not seen the "
    "question may drop the answer: an ordinary connection then fails for nothing.",
    faults=("volunteers-cookie",),
    learns=(Fact.VOLUNTEERS_COOKIES,),
    once=True,
)
async def not_volunteered(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0 (plain; those of control.syn), and another with n bytes
    <- SYN-ACK, no Fast Open option
    -> RST,ACK (half-open)
    """
    known = iter([flow for flow in probe.flows_of("control.syn") if flow.syn_ack is not None])

    def judged(probe: Probe, flow: Flow, what: str) -> Outcome:
        if flow.offered is not None:
            probe.facts.learn(Fact.VOLUNTEERS_COOKIES, True)
            return probe.breach(f"{what} without the option was answered with it", conclusive=True)
        return probe.passed("no Fast Open option for a plain SYN, nor for one with data")

    for what, data in (("a plain SYN", b""), ("a SYN with data", probe.payload.data)):

        async def attempt(probe: Probe, what: str = what, data: bytes = data) -> Outcome:
            if not data and (flow := next(known, None)) is not None:
                probe.evidence.adopt(flow)
                return judged(probe, flow, what)
            async with probe.beside_others(what, data=data, rejected=True) as flow:
                return judged(probe, flow, what)

        outcome = await probe.agree(attempt, Agreement(need=2))
        if outcome.verdict is not Verdict.PASS:
            break
    return outcome


@case(
    "cookie.request-data",
    section="4.2.1",
    level=Level.PROCEDURE,
    severity=Severity.CRITICAL,
    title="A request alone opens nothing",
    requirement="Data on a SYN that only asks for a cookie is not accepted.",
    expected="acknowledges the SYN only and answers nothing before the handshake has ended",
    advice="Data is taken without a cookie: on Linux clear bit 0x200 of net.ipv4.tcp_fastopen, "
    "and look for TCP_FASTOPEN_NO_COOKIE on the socket and fastopen_no_cookie on the route. "
    "Otherwise update the stack: it must leave out the data of a SYN with an empty option.",
    why="A client that asks for a cookie has proved nothing yet: it can be anybody, under any "
    "address. RFC 7413 section 7.3 allows weaker checks as an experiment only: that this is "
    "critical is tfocheck's own judgement of the risk.",
    needs=("cookie.request", "control.syn-data"),
    faults=("accepts-data-with-request",),
    once=True,
)
async def request_with_data(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie request, n bytes
    <- SYN-ACK, ack 1 (the SYN alone), cookie
    ...nothing before our ACK...
    -> RST,ACK (half-open)
    """
    return await probe.rejects_cookies([("cookie request", lambda: b"")])


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
