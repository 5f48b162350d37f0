"""RFC 7413 section 4.2.2: data on the SYN is a part of an ordinary stream."""

from __future__ import annotations

from tfocheck.case import (
    FAST_OPEN_WORKS,
    IN_TURN,
    Control,
    FastOpen,
    Level,
    NothingToSeeError,
    Outcome,
    Probe,
    Severity,
    case,
    tcp_options,
)


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
            conclusive=probe.ack_tells,
        )


@case(
    "open.timestamps",
    section="RFC 7323 3.2",
    level=Level.MUST,
    severity=Severity.MINOR,
    title="The SYN-ACK echoes the SYN's timestamp",
    requirement="TSecr of the SYN-ACK is TSval of the SYN.",
    expected="echoes our timestamp in the SYN-ACK of an accepted Fast Open",
    advice="The stack echoes a wrong timestamp: update it. With a server that does it right, look "
    "for a SYN proxy or a firewall that rewrites timestamps.",
    why="Clients measure the round trip by it, and Linux refuses a SYN-ACK whose echo is not of "
    "its own making.",
    needs=FAST_OPEN_WORKS,
    faults=("wrong-tsecr",),
    agree=IN_TURN,
)
async def timestamps(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, TSval t, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n, TSecr t
    -> ACK, FIN,ACK
    """
    data, cookie = probe.payload.data, FastOpen(probe.cookie)

    def area(timestamp: int) -> bytes:
        # Beside all of the everyday options a long cookie leaves no room for timestamps.
        mss, stamps = tcp_options.mss(probe.own_mss), tcp_options.timestamps(timestamp, 0)
        return tcp_options.encode([mss, stamps, cookie.to_option()])

    async with probe.alone("timestamps on", data=data, options=area) as flow:
        await probe.must_be_open(flow)
        sent = flow.sent_timestamp
        first = flow.syn_ack
        echoed = first.segment.option_list.timestamps if first else None
        probe.evidence.point_out(flow, first)
        if sent is None or echoed is None:
            return probe.skipped("the server does not use timestamps")
        if echoed[1] != sent:
            return probe.breach(f"TSecr is {echoed[1]}, our TSval was {sent}", conclusive=True)
        return probe.passed("TSecr is our TSval", conclusive=True)


@case(
    "open.fin-after-data",
    section="RFC 9293 3.10.7",
    level=Level.PROCEDURE,
    severity=Severity.MAJOR,
    title="A client may close right after its data",
    requirement="Data on the SYN, then ACK and FIN at once: the request is answered and the "
    "connection is closed in order.",
    expected="answers the request and acknowledges our FIN",
    advice="If the FIN is not acknowledged, update the stack. If only the answer is missing, the "
    "application takes a FIN for an abort: look for haproxy's `option abortonclose`, or nginx's "
    "`proxy_ignore_client_abort off`.",
    why="Short exchanges, which Fast Open is for, end like this. Each one that hangs keeps a "
    "connection on both sides until a timer ends it.",
    needs=FAST_OPEN_WORKS,
    faults=("ignores-fin",),
    agree=IN_TURN,
    control=(Control.SERVED,),
)
async def fin_after_data(probe: Probe) -> Outcome:
    """
    -> SYN, seq 0, cookie (valid), n bytes
    <- SYN-ACK, ack 1+n
    -> ACK
    -> FIN,ACK at once
    <- ACK of our FIN; the answer, before or after it
    no answer: the same on a plain connection
    """
    mute = await probe.application.is_mute()
    patience = probe.application.patience(await probe.application.ordinary_answer())
    data = probe.payload.data
    label = "data on the SYN, then ACK and FIN"
    async with probe.alone(label, FastOpen(probe.cookie), data=data) as flow:
        await probe.must_be_open(flow)
        await flow.complete(probe.round_trip)
        if not flow.fin_acknowledged and flow.reset is None:
            return probe.breach("the FIN after data on the SYN is not acknowledged")
        answered = await flow.wait(lambda: bool(flow.stream), 0 if mute else patience)
        if flow.reset is not None and (mute or (answered and not flow.fin_acknowledged)):
            raise NothingToSeeError("the application resets by itself")
        if not answered and not mute:
            wrong = "answered with a reset" if flow.reset is not None else "not answered"
            if not await _plain_is_answered(probe, data, patience):
                raise NothingToSeeError(
                    f"data, then FIN: {wrong}, and so is it on a plain connection"
                )
            if flow.reset is not None:
                return probe.breach("the FIN after data on the SYN was answered with a reset")
            return probe.breach("data on the SYN, then FIN: the request is not answered")
        return probe.passed(
            "our FIN acknowledged" if mute else "answered, our FIN acknowledged",
            conclusive=True,
        )


async def _plain_is_answered(probe: Probe, data: bytes, patience: float) -> bool:
    """Whether a request with a FIN right behind it is answered on a plain connection."""
    flow = await probe.plain_connection("control: plain, data, then FIN")
    try:
        if flow.syn_ack is None:
            return False
        await flow.send_data(data)
        await flow.complete(probe.round_trip)
        return await flow.wait(lambda: bool(flow.stream), patience)
    finally:
        probe.close_later(flow)
