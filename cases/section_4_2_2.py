"""RFC 7413 section 4.2.2: what the server does with a cookie, and how it falls back."""

from __future__ import annotations

import secrets

from tfocheck.case import Level, Outcome, Severity, Verdict, case
from tfocheck.probe import Probe, UnusableError, repeated_syn_ack
from tfocheck.tcp.flow import Flow
from tfocheck.tcp.options import FastOpen
from tfocheck.tcp.segment import Captured


def _must_be_open(flow: Flow, size: int) -> None:
    """Go on only if the valid cookie was honoured this time; else the attempt proves nothing."""
    if flow.acknowledged != 1 + size:
        raise UnusableError("the valid cookie was not honoured this time")


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
    "twice: the stack must drop the data of a rejected SYN and go on as with any other SYN.",
    needs=("open.data-acked",),
    faults=("delivers-rejected-data", "breaks-after-reject"),
)
async def fallback(probe: Probe) -> Outcome:
    await probe.positive_control()
    payload = probe.payload
    size = len(probe.cookie)

    async def attempt() -> Outcome:
        forged = FastOpen(secrets.token_bytes(size))
        # The head of a request: were it delivered besides the whole, the answer would be another.
        head = payload.data[: payload.split]
        async with probe.beside_others("forged cookie", forged, data=head, rejected=True) as flow:
            if flow.acknowledged != 1:
                return probe.skipped("the forged cookie was accepted: see forged.random")
            wrong = await probe.serves(flow, payload.data)
            if wrong:
                return probe.breach(f"after a rejected cookie and the whole request: {wrong}")
            return probe.passed("ack 1, then handshake and the data again: served as usual")

    return await probe.agree(attempt, unanswered="a SYN with a forged cookie and data")


@case(
    "cookie.synack-retransmit",
    section="4.2.2",
    level=Level.SHOULD,
    severity=Severity.MINOR,
    title="A repeated SYN-ACK to a request has no Fast Open option",
    requirement="When its timer fires, the server repeats the SYN-ACK without the Fast Open "
    "option, in case a box on the way drops packets that carry it.",
    expected="repeats its SYN-ACK without the Fast Open option",
    advice="Where a middlebox drops the option, such a server can't be reached at all by a client "
    "that asks for a cookie.",
    faults=("repeats-option",),
)
async def request_synack_retransmit(probe: Probe) -> Outcome:
    async def attempt() -> Outcome:
        async with probe.beside_others("cookie request, then silence", FastOpen()) as flow:
            probe.observing()
            return await repeated_syn_ack(probe, flow)

    return await probe.agree(attempt, need=2)


@case(
    "open.data-acked",
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
    needs=("option.cookie-format",),
    faults=("never-accepts", "partial-ack"),
)
async def data_acked(probe: Probe) -> Outcome:
    async def attempt() -> Outcome:
        return await probe.accepts_valid_cookie("valid cookie with data")

    outcome = await probe.agree(
        attempt, together=False, unanswered="a SYN with a valid cookie and data"
    )
    if outcome.verdict is Verdict.FAIL and not await probe.still_offered():
        return probe.undecided(
            f"{outcome.seen}; but cookies are not issued now either: the queue of pending requests"
            " seems to be full"
        )
    return outcome


@case(
    "open.early-answer",
    section="4.2.2",
    level=Level.INFO,
    title="The answer starts before the handshake ends",
    requirement="The server hands the data of the SYN to the application at once, and may answer "
    "before the client's ACK: that is the round trip that Fast Open saves (section 4.2.2, step 4).",
    expected="starts its answer before our ACK",
    advice="Data is accepted, but nothing is gained: the stack or the application waits for the "
    "handshake to end. Look for a deferred accept, a proxy that connects to its backend only then, "
    "or an application that holds back on purpose.",
    needs=("open.data-acked",),
    faults=("holds-data",),
)
async def early_answer(probe: Probe) -> Outcome:
    if await probe.application_is_mute():
        return probe.skipped("the application answers nothing that could come early")
    data = probe.payload.data

    async def attempt() -> Outcome:
        async with probe.alone("valid cookie with data", FastOpen(probe.cookie), data=data) as flow:
            _must_be_open(flow, len(data))
            syn_ack = flow.syn_ack
            if await probe.early_answer(flow) and syn_ack is not None:
                after = (flow.early_data[0].time - syn_ack.time) * 1000
                return probe.info(
                    f"the answer starts {after:.1f} ms after the SYN-ACK, before our ACK:"
                    " one round trip saved",
                    conclusive=True,
                )
            wrong = await probe.serves(flow)
            acked_at, answered_at = flow.handshake_done_time, flow.first_data_time
            if wrong or acked_at is None or answered_at is None:
                return probe.undecided(f"data accepted early, but then {wrong}")
            return probe.warning(
                "accepted, not delivered early: the answer comes only after our ACK"
                f" ({(answered_at - acked_at) * 1000:.0f} ms after it)"
            )

    return await probe.agree(attempt, together=False)


@case(
    "open.no-data",
    section="4.2.2",
    level=Level.PROCEDURE,
    severity=Severity.MAJOR,
    title="A valid cookie without data opens an ordinary connection",
    requirement="A SYN with a valid cookie and no data is answered, and the connection works.",
    expected="answers a valid cookie without data with a SYN-ACK, and the connection works",
    advice="Clients with nothing to send yet can't connect: the stack must not insist on data.",
    needs=("open.data-acked",),
    faults=("needs-data",),
)
async def no_data(probe: Probe) -> Outcome:
    data = probe.payload.data

    async def attempt() -> Outcome:
        async with probe.alone("valid cookie, no data", FastOpen(probe.cookie)) as flow:
            if flow.acknowledged != 1:
                return probe.breach(f"ack {flow.acknowledged} to a SYN without data")
            wrong = await probe.serves(flow, data)
            if wrong:
                return probe.breach(
                    f"a cookie without data, then the connection is broken: {wrong}"
                )
            return probe.passed("ack 1, then an ordinary connection that works", conclusive=True)

    return await probe.agree(
        attempt, together=False, unanswered="a SYN with a valid cookie and no data"
    )


@case(
    "open.stream-integrity",
    section="RFC 9293 3.4",
    level=Level.MUST,
    severity=Severity.CRITICAL,
    title="Data on the SYN and data after it make one stream",
    requirement="The application gets the SYN's data and what follows in order, each byte once.",
    expected="gives the application one request, whose first part came on the SYN",
    advice="Requests get damaged: the stack loses or doubles the data that came on the SYN. Switch "
    "Fast Open off until that is mended.",
    needs=("open.data-acked",),
    faults=("loses-syn-data", "doubles-syn-data"),
)
async def stream_integrity(probe: Probe) -> Outcome:
    if await probe.application_is_mute():
        return probe.skipped("the application answers nothing that would show its input")
    payload = probe.payload
    head, rest = payload.data[: payload.split], payload.data[payload.split :]

    async def attempt() -> Outcome:
        label = "half a request on the SYN"
        async with probe.alone(label, FastOpen(probe.cookie), data=head) as flow:
            _must_be_open(flow, len(head))
            wrong = await probe.serves(flow, rest)
            if wrong:
                return probe.breach(
                    f"{len(head)} bytes on the SYN, {len(rest)} after the handshake: {wrong}"
                )
            return probe.passed(
                f"{len(head)} bytes on the SYN, {len(rest)} after it: one correct answer",
                conclusive=True,
            )

    return await probe.agree(attempt, together=False)


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
    advice="The network may double any SYN, and clients repeat them: requests would be done twice.",
    needs=("open.data-acked",),
    faults=("second-connection",),
)
async def duplicate_syn(probe: Probe) -> Outcome:
    data = probe.payload.data

    async def attempt() -> Outcome:
        label = "the same SYN twice"
        async with probe.alone(label, FastOpen(probe.cookie), data=data) as flow:
            _must_be_open(flow, len(data))
            await probe.early_answer(flow)
            known = len(flow.received)
            await flow.repeat_syn()

            def came_back() -> list[Captured]:
                return [
                    captured
                    for captured in flow.received[known:]
                    if captured.segment.is_syn_ack or captured.segment.is_reset
                ]

            wait = probe.session.round_trips.syn_wait(probe.session.timeout)
            await flow.wait(lambda: bool(came_back()), wait)
            for captured in came_back():
                segment = captured.segment
                if segment.is_reset:
                    return probe.breach("the second copy of the SYN was answered with a reset")
                if segment.seq != flow.server_isn:
                    return probe.breach(
                        "the second copy of the SYN opened a second connection (another ISN)",
                        conclusive=True,
                    )
            again = "the same ISN and ack again" if came_back() else "no second SYN-ACK"
            wrong = None if await probe.application_is_mute() else await probe.serves(flow)
            if not wrong:
                return probe.passed(
                    f"{again}, one connection that works", conclusive=bool(came_back())
                )
        async with probe.alone("control: the SYN once", FastOpen(probe.cookie), data=data) as flow:
            _must_be_open(flow, len(data))
            if await probe.serves(flow):
                return probe.skipped("a SYN that comes once is not served either")
        return probe.breach(f"after a doubled SYN the connection is broken: {wrong}")

    return await probe.agree(attempt, together=False)


@case(
    "open.synack-retransmit",
    section="4.2.2",
    level=Level.SHOULD,
    severity=Severity.MINOR,
    title="A repeated SYN-ACK to an accepted Fast Open is a bare one",
    requirement="When its timer fires, the server repeats the SYN-ACK with neither data nor the "
    "Fast Open option.",
    expected="repeats its SYN-ACK without data and without the Fast Open option",
    advice="A box that drops SYN-ACKs with data or unknown options keeps dropping them: the "
    "connection never comes up.",
    needs=("open.data-acked",),
    faults=("repeats-data",),
    last=True,
)
async def synack_retransmit(probe: Probe) -> Outcome:
    data = probe.payload.data

    async def attempt() -> Outcome:
        label = "valid cookie with data, then silence"
        async with probe.alone(label, FastOpen(probe.cookie), data=data) as flow:
            _must_be_open(flow, len(data))
            return await repeated_syn_ack(probe, flow)

    return await probe.agree(attempt, together=False)
